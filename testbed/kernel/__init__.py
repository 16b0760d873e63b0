"""The only package that talks to the kernel: applies a plan, reads the kernel back as a plan."""
