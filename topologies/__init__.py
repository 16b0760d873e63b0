"""Topologies: Mininet `Topo` subclasses, one per file, each exporting `topos`."""
