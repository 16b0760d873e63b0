"""Mininet's own topologies come up, and all pairs of hosts reach each other.

h1 ── s1 ── h2      h1 ── s1 ── s2 ── s3 ── h3      a tree
"""

from __future__ import annotations

import sys

import pytest
from mininet.topo import LinearTopo, SingleSwitchTopo, Topo
from mininet.topolib import TreeTopo

from testbed.lab import Lab
from tests.unit.plan.test_compile import Mixed, Spines

# Connects to every address it is given, and says how many answered.
_CALLER = """
import socket, sys
for address in sys.argv[1:]:
    socket.create_connection((address, 5201), timeout=5).close()
print(len(sys.argv) - 1)
"""
_LISTENER = """
import socket
server = socket.create_server(("0.0.0.0", 5201), backlog=64)
print("up", flush=True)
while True:
    server.accept()[0].close()
"""


@pytest.mark.user
@pytest.mark.parametrize(
    "topo",
    [SingleSwitchTopo(3), LinearTopo(3), TreeTopo(2, 2), Spines(), Mixed()],
    ids=lambda topo: type(topo).__name__,
)
def test_all_pairs_reach_each_other(topo: Topo) -> None:
    with Lab(topo) as lab:
        listeners = [host.popen([sys.executable, "-c", _LISTENER]) for host in lab.domains.values()]
        for listener in listeners:
            assert listener.stdout is not None
            assert listener.stdout.readline() == b"up\n"
        # A host's own address; one on a link between two hosts is nobody else's business.
        addresses = {
            host.name: next(iter(host.addresses.values())) for host in lab.domains.values()
        }
        for host in lab.domains.values():
            others = [address for name, address in addresses.items() if name != host.name]
            done = host.run([sys.executable, "-c", _CALLER, *others], timeout=30)
            assert (done.status, done.stdout.strip()) == (0, str(len(others))), done.stderr
        for listener in listeners:
            listener.close()
        assert lab.verify() == []
