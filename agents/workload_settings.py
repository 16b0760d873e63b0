"""The section `workload` of a scenario: what agents play, and when they come.

Times are those of the real cluster.
"""

from __future__ import annotations

import os
from typing import Annotated, Literal

from pydantic import Field, model_validator

from agents.traces.agentic import TRACES
from testbed.experiment.scenario import DurationS, PerSecond, Section


class Arrivals(Section):
    """Sessions that arrive in the open, by a seeded Poisson process, instead of a closed loop."""

    rate: Annotated[PerSecond, Field(gt=0)]
    """Sessions per second of the real cluster (APS), e.g. "0.5/s"."""


class Workload(Section):
    """What the agents do."""

    kind: Literal["agentic", "sessions", "weka", "mooncake"] = "agentic"
    """Generated agents; recorded sessions, compact or in WEKA's files; requests as Mooncake's."""

    trace: str = "64k"
    """Of generated agents: 32k, 48k or 64k."""

    file: str | None = None
    """The recorded trace, plain or gzip (of weka also a directory); `$VARIABLES` are expanded."""

    agents: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    """Agents of a closed loop; auto is enough for every policy to have requests waiting.  With
    arrivals, those in flight at the start; auto is the rate times a session's expected time."""

    arrivals: Arrivals | None = None
    """Sessions arrive and leave; default a closed loop."""

    start: Literal["warm", "cold"] = "warm"
    """Warm: agents enter midway, with their prefix in storage.  Cold: at their first turn (with
    arrivals: nobody is there yet)."""

    enter: Literal["trajectory", "steady"] = "trajectory"
    """Agents of a warm closed loop are in a trajectory drawn evenly, or in one drawn by how long it
    takes: as after a long time, so that every turn of the trace counts alike."""

    sessions: Literal["endless", "one"] = "endless"
    """An agent of a closed loop that ends a session begins another, or stays away: the run ends
    with the last one, or with duration."""

    every: int = Field(default=1, ge=1)
    """Of generated agents with `sessions: one`: only each so many-th turn is played, with the
    context, append and generation that it has; what turns between would have stored is there."""

    think: Literal["none", "trace"] = "none"
    """Pauses between turns: none, or those of the trace."""

    think_time: Annotated[DurationS, Field(ge=0)] = 0.0
    """Of generated agents: pause before every turn but the first, in real time."""

    think_limit: DurationS | None = None
    """Longest pause, in real time."""

    time_compression: float = Field(default=1.0, gt=0)
    """Mooncake: requests are released so many times faster than they were recorded."""

    skip: DurationS = 0.0
    """Mooncake: the first part of the trace that is not played, in its own time."""

    max_context: Literal["model"] | Annotated[int, Field(ge=64)] = "model"
    """Longest context in tokens; sessions end before it.  Default the model's."""

    append_scale: float = Field(default=1.0, gt=0)
    """Of generated agents: multiplies what each turn appends."""

    generation_scale: float = Field(default=1.0, gt=0)
    """Of generated agents: multiplies what each turn generates."""

    @model_validator(mode="after")
    def _consistent(self) -> Workload:
        if self.kind == "agentic":
            if self.trace not in TRACES:
                raise ValueError(
                    f"there is no generated trace {self.trace!r}; there are {', '.join(TRACES)}"
                )
            recorded_only = {"file", "think", "think_limit"} & self.model_fields_set
            if recorded_only:
                raise ValueError(f"generated agents have no {', '.join(sorted(recorded_only))}")
        elif self.think_time:
            raise ValueError("think_time is of generated agents; recorded ones take think: trace")
        elif self.file is None:
            raise ValueError(f"kind {self.kind} needs the path of a trace: file")
        if self.file is not None and "$" in (expanded := os.path.expandvars(self.file)):
            raise ValueError(
                f"{expanded}: an environment variable in it is not set; set it, or give the path "
                "of the trace (workload.file)"
            )
        closed = {"enter": "trajectory", "sessions": "endless"}
        changed = [name for name, usual in closed.items() if getattr(self, name) != usual]
        if changed and (self.kind == "mooncake" or self.arrivals is not None):
            raise ValueError(f"{', '.join(changed)}: only a closed loop has these")
        if self.enter == "steady" and (self.start == "cold" or self.sessions == "one"):
            raise ValueError("enter: steady is of agents that enter midway and go on")
        if self.every > 1 and (self.kind, self.start, self.sessions) != ("agentic", "cold", "one"):
            raise ValueError("every: needs kind: agentic, start: cold and sessions: one")
        clock = {"time_compression", "skip"} & self.model_fields_set
        if clock and self.kind != "mooncake":
            raise ValueError(f"{', '.join(sorted(clock))}: only mooncake releases by the clock")
        if self.arrivals is not None and self.kind == "mooncake":
            raise ValueError("arrivals: requests of a mooncake trace are released by the clock")
        return self

    @property
    def open_loop(self) -> bool:
        """Whether a clock says when turns come, and not the end of those before."""
        return self.arrivals is not None or self.kind == "mooncake"
