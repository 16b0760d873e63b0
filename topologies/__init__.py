"""Topologies: Mininet `Topo` subclasses, one per file, each exporting `topos`."""

DISTRIBUTION = "dualpath-testbed"  # the `testbed` command knows its own package by this line
