"""What the Makefile needs; run from there."""
