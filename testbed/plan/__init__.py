"""A topology becomes a plan: frozen data, made and checked without a kernel."""
