"""From a policy's choice to the segments of a request: which blocks are read where."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import msgspec

from agents.read_path import Segment, Side
from agents.scheduler.directory import NOBODY, Peer
from agents.scheduler.views import Choice, Split
from agents.storage.placement import Run


def segments_of(choice: Choice, hits: Sequence[Run], peer: Peer = NOBODY) -> list[Segment]:
    """The segments of the hit blocks, those of the decode side first.

    Args:
        choice: of the policy.
        hits: where they are stored, back to back from block 0.
        peer: whose cache has the first of them.
    """
    if choice == "peer":
        cut = chain.from_iterable(_cut(run, peer.blocks) for run in hits)
        rest = [msgspec.structs.replace(part, side="de") for part in cut if part.side == "pe"]
        return [Segment("peer", peer.node, 0, peer.blocks), *rest]
    if not isinstance(choice, Split):
        return [Segment(choice, *run) for run in hits]
    blocks = sum(run.blocks for run in hits)
    first_on_prefill = round(choice.de_share * blocks)
    return list(chain.from_iterable(_cut(run, first_on_prefill) for run in hits))


def _cut(run: Run, at: int) -> list[Segment]:
    """One run as a segment, or as two if block `at` is inside it."""
    end = run.first + run.blocks
    middle = min(max(at, run.first), end)
    parts: list[tuple[Side, int, int]] = [("de", run.first, middle), ("pe", middle, end)]
    return [
        Segment(side, run.node, first, last - first) for side, first, last in parts if last > first
    ]
