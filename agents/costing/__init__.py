"""What moving a byte costs this machine: measured once, kept, and said how old."""
