"""Benchmarks: one ratio a file, both sides of it measured in one run."""
