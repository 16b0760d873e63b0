"""Bounds that checks ask for, as lines where what they bound is drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from testbed.fidelity.checks import Check
from testbed.fidelity.machine_checks import MACHINE, TIMERS
from testbed.report.presentation import Lateness
from testbed.report.words import shown, spaced

_MOST_ABOVE = 3.0  # times what was seen: a bound above that would flatten it
_STATISTICS = {"mean_s": "mean", "p99_s": "p99"}


class Bound(NamedTuple):
    """A line of a panel.

    Args:
        at: where, in the panel's unit.
        said: its label.
        own: it is of the testbed's own timer, not of the workload's programs.
        beyond: it is far above all that was seen, and is named at the upper edge instead.
    """

    at: float
    said: str
    own: bool = False
    beyond: bool = False

    @property
    def label(self) -> str:
        """What is written at the line, or at the edge."""
        return f"\u2191 {self.said}" if self.beyond else self.said


def of_processors(checks: Sequence[Check], variant: str) -> list[Bound]:
    """How busy the machine may have been, % of all its processors."""
    return [
        Bound(100 * limit, spaced(f"asked: mean of the window \u2264 {limit:.0%}"))
        for name, limit in _limits(checks, MACHINE, variant)
        if name == "cpu_share"
    ]


def of_timers(
    checks: Sequence[Check], variant: str, judged: Lateness | None, seen_s: float
) -> list[Bound]:
    """How late timers may have come, ms.

    Args:
        checks: of the verdict.
        variant: of the run.
        judged: how the workload's programs are judged, if they are.
        seen_s: the latest timer that is drawn in any variant.
    """
    wanted = [(TIMERS, "asked: the monitor's", True)]
    if judged is not None:
        wanted.append((judged.check, "asked: each program's", False))
    return [
        Bound(
            1000 * limit_s,
            f"{whose} {_STATISTICS[name]} \u2264 {shown('_s', limit_s)}",
            own,
            beyond=limit_s > _MOST_ABOVE * seen_s,
        )
        for check, whose, own in wanted
        for name, limit_s in _limits(checks, check, variant)
        if name in _STATISTICS
    ]


def _limits(checks: Sequence[Check], name: str, variant: str) -> Iterator[tuple[str, float]]:
    for check in checks:
        if (check.name, check.variant) == (name, variant):
            yield from check.limits.items()
