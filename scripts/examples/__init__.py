"""Files to begin one's own from."""
