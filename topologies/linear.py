"""k switches in a row, n hosts at each: h1 ── s1 ── s2 ── … ── sk."""

from mininet.topo import Topo


class LinearTopo(Topo):
    """A row of switches.

    Args (of `build`):
        k: switches.
        n: hosts at each switch.
        bw: rate of every link, Mbit/s.

    Raises:
        ValueError: there are no switches, or no hosts.
    """

    def build(self, k: int = 2, n: int = 1, bw: float = 100.0) -> None:
        """Called by Topo's constructor."""
        if k < 1 or n < 1:
            raise ValueError(f"k={k}, n={n}: both must be at least 1")
        last = None
        for number in range(1, k + 1):
            switch = self.addSwitch(f"s{number}")
            for host in range(1, n + 1):
                name = f"h{number}" if n == 1 else f"h{host}s{number}"
                self.addLink(self.addHost(name), switch, bw=bw)
            if last:
                self.addLink(last, switch, bw=bw)
            last = switch


topos = {"linear": LinearTopo}
