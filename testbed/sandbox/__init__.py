"""Lifetimes: the supervisor, the programs inside a testbed, and the way to talk to them."""
