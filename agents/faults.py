"""What goes wrong in a run on purpose: the timetable that a cluster's processes are told."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Action: TypeAlias = Literal["stop", "resume", "kill", "start", "forget", "fill", "clear"]

OF_PROCESSES: frozenset[Action] = frozenset({"stop", "resume", "kill", "start"})
"""Actions that the runner carries out; the others are storage's."""


class Step(msgspec.Struct, frozen=True):
    """Something to be done to a process.

    Args:
        at_s: after the first submission, emulated.
        target: the process.
        share: of a storage node's blocks.
    """

    at_s: float
    action: Action
    target: str
    share: float = 1.0
