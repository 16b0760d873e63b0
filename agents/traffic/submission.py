"""What it costs an engine to submit transfers, as emulated time.

On the real machine each Layer Block is a work request of its own: about 1 µs of the submitting
thread for an RDMA write, 5 to 7 µs for a copy engine's cudaMemcpyAsync (DualPath, appendix A.1).
An emulated transfer stands for all the Layer Blocks in it, so that it costs as many of these,
stretched with the run.  One thread submits for an engine: the next transfer waits its turn.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

RDMA_WRITE_S = 1e-6
COPY_ENGINE_S = 6e-6


class SubmissionCosts(msgspec.Struct, frozen=True):
    """Emulated seconds to submit one Layer Block.

    Args:
        rdma_s: through a CNIC.
        copy_s: through a PCIe link, by a copy engine.
    """

    rdma_s: float
    copy_s: float

    def of(self, device: str) -> float:
        """Of a queue pair's port."""
        return self.copy_s if device.startswith("pcie") else self.rdma_s


class Submitter(NamedTuple):
    """Who submits on an end of a queue pair, and what one Layer Block costs there."""

    engine: str
    block_s: float


class SubmissionClock:
    """When the submitting thread of each engine is free."""

    def __init__(self) -> None:
        self._free_at_s: dict[str, float] = {}
        self.busy_s = 0.0

    def submit(self, who: Submitter, now_s: float, blocks: int) -> float:
        """When a transfer of so many Layer Blocks has been submitted, in the order of asking."""
        cost_s = who.block_s * blocks
        self.busy_s += cost_s
        done_s = max(now_s, self._free_at_s.get(who.engine, now_s)) + cost_s
        self._free_at_s[who.engine] = done_s
        return done_s


def submitter(pair: str, costs: SubmissionCosts) -> Submitter | None:
    """Who submits on an end of a queue pair; None where nobody is charged (storage).

    Args:
        pair: name of the end, see `agents.wire.pair_names.pair_name`.
        costs: of a Layer Block.
    """
    ends, _, side = pair.partition("#")
    caller, _, called = ends.partition(">")
    target, _, port = called.partition("/")
    device = port.partition(":")[0]
    if device.startswith("snic"):
        return None
    rail = device.lstrip("abcdefghijklmnopqrstuvwxyz")
    engine = caller if side == "caller" else f"{target}g{rail}"
    return Submitter(engine, costs.of(device))
