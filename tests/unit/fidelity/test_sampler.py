"""Samples of a long run stay within bounds, and nothing of what was counted is lost."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest

from testbed.errors import KernelError
from testbed.fidelity import sampler
from testbed.fidelity.sampler import Sampler
from testbed.lab import Lab


class Counting:
    """Stands for a cluster whose counters are how often they were read."""

    def __init__(self, ends_after: int) -> None:
        self.read = 0
        self.ended = threading.Event()
        self._ends_after = ends_after

    def counters(self) -> list[Any]:
        if self.read == self._ends_after:
            self.ended.set()
            raise KernelError("the shaper is gone", hint="-")
        self.read += 1
        return [self.read]

    def tcp_counters(self) -> dict[str, dict[str, int]]:
        return {"h1": {"OutSegs": self.read}}

    def link_counters(self) -> dict[str, dict[str, Any]]:
        return {"h1": {}}


@pytest.mark.parametrize(
    ("read", "kept"),
    [
        (9, list(range(1, 10))),
        (10, [1, 3, 5, 7, 9]),
        (14, [1, 3, 5, 7, 9, 11, 12, 13, 14]),
        (15, [1, 5, 9, 12, 14]),
        (40, [1, 5, 9, 12, 14, *range(16, 41)]),  # no longer periods than that
    ],
)
def test_what_lies_back_is_thinned(
    monkeypatch: pytest.MonkeyPatch, read: int, kept: list[int]
) -> None:
    monkeypatch.setattr(sampler, "MOST_SAMPLES", 10)
    monkeypatch.setattr(sampler, "LONGEST_PERIOD_S", 4e-6)
    lab = Counting(read)
    watching = Sampler(cast(Lab, lab), period_s=1e-6)
    assert lab.ended.wait(10)
    counted = watching.stop()
    assert counted.samples == [[number] for number in kept]
    assert counted.lost == "the shaper is gone"
    assert counted.tcp == ({"h1": {"OutSegs": 0}}, {"h1": {"OutSegs": read}})
