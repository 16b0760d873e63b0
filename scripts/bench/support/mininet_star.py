"""A star of Mininet's own: k hosts behind TCLinks, on a Linux bridge.

    /usr/bin/python3 mininet_star.py K MBIT

Started by the interpreter that Debian's `mininet` package belongs to, in namespaces of its own.
Prints one line of JSON on standard output; what Mininet and tc say goes to standard error.
"""

import json
import sys
import time

from mininet.link import TCLink
from mininet.log import setLogLevel
from mininet.net import Mininet
from mininet.nodelib import LinuxBridge
from mininet.topo import Topo


class Star(Topo):
    """h1 … hk -- s1."""

    def build(self, k: int, mbit: float) -> None:
        """Called by Topo's constructor."""
        switch = self.addSwitch("s1")
        for number in range(1, k + 1):
            self.addLink(self.addHost(f"h{number}"), switch, bw=mbit)


def main() -> None:
    """Up, and down again, with the time of each."""
    k, mbit = int(sys.argv[1]), float(sys.argv[2])
    setLogLevel("critical")
    began_s = time.monotonic()
    net = Mininet(topo=Star(k, mbit), switch=LinuxBridge, controller=None, link=TCLink)
    net.start()
    up_s = time.monotonic() - began_s
    shaped = sum("htb" in host.cmd(f"tc qdisc show dev {host.name}-eth0") for host in net.hosts)
    began_s = time.monotonic()
    net.stop()
    down_s = time.monotonic() - began_s
    json.dump({"up_s": up_s, "down_s": down_s, "shaped_hosts": shaped}, sys.stdout)


if __name__ == "__main__":
    main()
