"""One switch with k hosts: h1, …, hk ── s1."""

from mininet.topo import Topo


class SingleTopo(Topo):
    """A star.

    Args (of `build`):
        k: hosts.
        bw: rate of every link, Mbit/s.

    Raises:
        ValueError: there are no hosts.
    """

    def build(self, k: int = 2, bw: float = 100.0) -> None:
        """Called by Topo's constructor."""
        if k < 1:
            raise ValueError(f"k={k}: there must be at least one host")
        switch = self.addSwitch("s1")
        for number in range(1, k + 1):
            self.addLink(self.addHost(f"h{number}"), switch, bw=bw)


topos = {"single": SingleTopo}
