"""Tells when the kernel has freed a testbed: a veth pair from inside it to a namespace out here.

The end out here vanishes when the namespace of the other end is taken down, with all its devices
and their queues.

    python -m scripts.bench.support.leash < NAMESPACE       (inside the testbed; makes the pair)
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from testbed.kernel.links import list_links
from testbed.kernel.messages import veth
from testbed.kernel.namespaces import create_network, inside
from testbed.kernel.netlink import Request, route_socket
from testbed.lab import Lab
from testbed.plan.model import Veth

NAME = "leash"
_SIZES = 1500, 65536, 1000  # MTU, aggregation limit, queue
_INDEXES = 90_000, 90_001
_MACS = bytes.fromhex("020300000001"), bytes.fromhex("020300000002")


class Leash:
    """Tied to a domain of a testbed; single-threaded programs only.

    Args:
        lab: the testbed.
        domain: any of its domains.
    """

    def __init__(self, lab: Lab, domain: str) -> None:
        self._net = create_network()
        with inside(self._net):
            self._socket = route_socket()
        made = lab[domain].popen(
            [sys.executable, "-m", "scripts.bench.support.leash"],
            stdin=self._net,
            cwd=str(Path(__file__).parents[3]),
        )
        _, errors = made.communicate()
        if made.wait() or not self.tied():
            raise RuntimeError(f"cannot tie a leash to {domain}: {errors!r}")

    def tied(self) -> bool:
        """The other end is still there."""
        return any(link.name == NAME for link in list_links(self._socket))

    def seconds_until_gone(self, timeout_s: float) -> float | None:
        """How long from now the testbed's devices live on; None if longer than that."""
        began_s = time.monotonic()
        while self.tied():
            if time.monotonic() - began_s > timeout_s:
                return None
            time.sleep(0.005)
        return time.monotonic() - began_s

    def close(self) -> None:
        """Give the namespace out here back."""
        self._socket.close()
        os.close(self._net)


def main() -> None:
    """Make the pair: one end here, the other in the namespace on standard input."""
    message = veth().fill(
        _INDEXES[0], NAME.encode(), _MACS[0], *_SIZES, 0,
        _INDEXES[1], NAME.encode(), _MACS[1], *_SIZES, sys.stdin.fileno(),
    )  # fmt: skip
    element = Veth("here", NAME, "outside", NAME, _MACS[0].hex(":"), *_SIZES)
    with route_socket() as opened:
        opened.submit([Request(message, element)])


if __name__ == "__main__":
    main()
