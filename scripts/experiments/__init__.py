"""Experiments: one question a file, a table as its answer."""
