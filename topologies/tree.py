"""A tree of switches with hosts as its leaves: s1 ── s2 ── h1, h2; s1 ── s3 ── h3, h4."""

from mininet.topo import Topo


class TreeTopo(Topo):
    """A tree, numbered as Mininet numbers its own, with a rate on every link.

    Args (of `build`):
        depth: levels of switches.
        fanout: children of each switch.
        bw: rate of every link, Mbit/s.

    Raises:
        ValueError: there are no switches, or they have no children.
    """

    def build(self, depth: int = 2, fanout: int = 2, bw: float = 100.0) -> None:
        """Called by Topo's constructor."""
        if depth < 1 or fanout < 1:
            raise ValueError(f"depth={depth}, fanout={fanout}: both must be at least 1")
        self._bw = bw
        self._switches = self._hosts = 0
        self._add(depth, fanout)

    def _add(self, depth: int, fanout: int) -> str:
        """Add a subtree; returns its topmost node."""
        if depth == 0:
            self._hosts += 1
            return str(self.addHost(f"h{self._hosts}"))
        self._switches += 1
        switch = self.addSwitch(f"s{self._switches}")
        for _ in range(fanout):
            self.addLink(switch, self._add(depth - 1, fanout), bw=self._bw)
        return str(switch)


topos = {"tree": TreeTopo}
