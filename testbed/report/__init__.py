"""One self-contained page for each run, written from the run directory alone."""
