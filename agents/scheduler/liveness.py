"""Which nodes have been silent for too long.

Nodes say something in every period of their fetches, or when they are asked.  Silence is counted
only while somebody listens: if the scheduler itself was held up, what nodes said meanwhile has not
been heard yet, and a tick that comes late counts as one.  Pure; the clock is an argument.
"""

from __future__ import annotations

from collections.abc import Iterable

TICKS = 8
"""In the time that makes a node count as lost."""

_UNEXPECTED = 4


def limit_s(silent_after_s: float, *, faults: bool) -> float:
    """How long a node may be silent.

    A node that nobody was to harm gets more time: if it is lost, so is the run.

    Args:
        silent_after_s: the scenario's.
        faults: are expected.
    """
    return silent_after_s * (1 if faults else _UNEXPECTED)


class Liveness:
    """When nodes were heard last.

    Args:
        nodes: all of them.
        silent_after_s: this long without a word is too long.
    """

    def __init__(self, nodes: Iterable[str], silent_after_s: float) -> None:
        self.period_s = silent_after_s / TICKS
        self._limit_s = silent_after_s
        self._silent_s = dict.fromkeys(nodes, 0.0)
        self._ticked_s: float | None = None

    def heard(self, node: str) -> None:
        """A node has said something."""
        if node in self._silent_s:
            self._silent_s[node] = 0.0

    def lose(self, node: str) -> None:
        """A node is lost: it is not asked about any more."""
        self._silent_s.pop(node, None)

    def tick(self, now_s: float) -> list[str]:
        """Time goes on; call it every `period_s`.  The nodes that count as lost from now on."""
        passed_s = 0.0 if self._ticked_s is None else now_s - self._ticked_s
        self._ticked_s = now_s
        step_s = min(passed_s, self.period_s)
        for node in self._silent_s:
            self._silent_s[node] += step_s
        # Sums of steps are not exact.
        return [n for n, s in self._silent_s.items() if s > self._limit_s * (1 - 1e-9)]
