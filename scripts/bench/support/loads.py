"""Loading links with plain TCP flows (`testbed.flows`), for as long as a `with` block."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from testbed.lab import Lab, Process

_UNTIL_ENDED = "3600"


class Port(NamedTuple):
    """A NIC of a domain."""

    domain: str
    device: str


class Sender(NamedTuple):
    """Flows that leave by one port; `tos` chooses their lane (None: not marked)."""

    port: Port
    flows: int = 1
    tos: int | None = None


@contextmanager
def loaded(
    lab: Lab, senders: Sequence[Sender], target: Port, *, settle_s: float, seconds: float
) -> Iterator[Process]:
    """Send from all senders to one port, until the block ends.

    Args:
        lab: the testbed.
        senders, target: from where to where.
        settle_s, seconds: of the sink's window, see `testbed.flows`.

    Yields:
        The sink; it prints what it saw when its window has closed.
    """
    flows = [sys.executable, "-m", "testbed.flows"]
    address = lab[target.domain].addresses[target.device]
    count = sum(sender.flows for sender in senders)
    with ExitStack() as stack:
        sink = lab[target.domain].popen(
            [*flows, "sink", "--bind", address, "--connections", str(count),
             "--settle", str(settle_s), "--seconds", str(seconds)]
        )  # fmt: skip
        stack.callback(sink.close)
        assert sink.stderr is not None
        sink.stderr.readline()  # it listens
        for (domain, device), streams, tos in senders:
            lane = [] if tos is None else ["--tos", str(tos)]
            source = lab[domain].popen(
                [*flows, "source", "--to", address, "--bind", lab[domain].addresses[device],
                 "--streams", str(streams), "--seconds", _UNTIL_ENDED, *lane]
            )  # fmt: skip
            stack.callback(source.close)
        yield sink
