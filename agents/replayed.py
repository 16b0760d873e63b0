"""The load of a scenario as a forecast sees it: its mean turn, its rate, what storage holds first.

What no scale changes is looked at once, for whoever foresees one scenario at several scales.
"""

from __future__ import annotations

import numpy as np

from agents.client.replay import Replay, make_replay
from agents.cluster import Arrivals, Steady
from agents.settings import DualPathScenario
from agents.traces.load import (
    ClosedTrace,
    OpenTrace,
    TurnMeans,
    arrivals_per_s,
    closed_means,
    open_means,
)


class Replayed:
    """One scenario's load, whatever the scale."""

    def __init__(self) -> None:
        self._closed: tuple[TurnMeans, float] | None = None
        self._blocks: dict[object, int] = {}

    def offered(
        self, scenario: DualPathScenario, trace: ClosedTrace | OpenTrace
    ) -> tuple[TurnMeans, float | None]:
        """The mean turn, and how many are offered per second; None in a closed loop."""
        if isinstance(trace, OpenTrace):
            means = open_means(trace, warm=scenario.workload.start == "warm")
            return means, arrivals_per_s(trace)
        arrivals = scenario.workload.arrivals
        load = scenario.workload
        # As a whole every turn counts once: in a steady state, and in whole sessions.
        whole = arrivals is not None or load.enter == "steady" or load.sessions == "one"
        means = self._closed_means(scenario, trace, whole_sessions=whole)
        if arrivals is None:
            return means, None
        sessions_per_s = scenario.realised_scale.emulated_per_s(arrivals.rate)
        return means, sessions_per_s * means.session_turns

    def _closed_means(
        self, scenario: DualPathScenario, trace: ClosedTrace, *, whole_sessions: bool
    ) -> TurnMeans:
        """Tokens and turns are what they are; pauses stretch."""
        stretch = scenario.realised_scale.stretch
        if self._closed is None:
            self._closed = closed_means(trace.source, whole_sessions=whole_sessions), stretch
        means, of_stretch = self._closed
        return means._replace(think_s=means.think_s * stretch / of_stretch)

    def prefix_blocks(
        self,
        scenario: DualPathScenario,
        trace: ClosedTrace | OpenTrace,
        agents: int,
        arrivals: Arrivals | None,
        steady: Steady | None,
    ) -> int:
        """Different blocks that storage holds before a run."""
        clock = None if isinstance(trace, ClosedTrace) else scenario.trace_spec
        load = (agents, arrivals, steady, clock)
        if load not in self._blocks:
            prefixes = list(replay(scenario, trace, agents, arrivals, steady).prefixes())
            found = len(np.unique(np.concatenate(prefixes))) if prefixes else 0
            self._blocks[load] = found
        return self._blocks[load]


def replay(
    scenario: DualPathScenario,
    trace: ClosedTrace | OpenTrace,
    agents: int,
    arrivals: Arrivals | None,
    steady: Steady | None,
) -> Replay:
    """A fresh replay of a load."""
    load = scenario.workload
    return make_replay(
        trace,
        agents=agents,
        seed=scenario.seed,
        start=load.start,
        arrivals=arrivals,
        steady=steady,
        endless=load.sessions == "endless",
    )
