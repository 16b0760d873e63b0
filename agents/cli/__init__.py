"""Verbs of the `testbed` command that are about models and agents, one to a module."""
