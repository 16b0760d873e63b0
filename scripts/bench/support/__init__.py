"""What benchmarks share: no benchmark by itself."""
