"""Measurements and experiments around the testbed; not part of the distribution."""
