"""How long a run takes, before it is run: every policy, from bring-up to the last request.

The client's rule: one request is served alone; the window opens when every agent has had a turn,
and after the warm-up; it closes after its duration, or when nobody has a turn left; then what is
under way is served.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from agents.costing.costs import GIB, MachineCosts
from agents.forecast import Forecast
from agents.idle_overhead import has_idle_request
from agents.settings import DualPathScenario
from testbed.fidelity.window import opening_s


class RunLength(NamedTuple):
    """One policy's, in seconds.

    Args:
        bring_up_s: until the cluster is up and verified.
        ready_s: until its programs are.
        warm_up_s: until the window opens; storage is filled and the idle request served first.
        window_length_s: that is measured.
        drain_s: until all requests have ended.
    """

    bring_up_s: float
    ready_s: float
    warm_up_s: float
    window_length_s: float
    drain_s: float

    @property
    def length_s(self) -> float:
        """All of it."""
        return sum(self)


def run_lengths(
    scenario: DualPathScenario, found: Forecast, costs: MachineCosts, cores: float
) -> dict[str, RunLength]:
    """Policy -> how long it takes; one comes after the other.

    Args:
        scenario, found: what is run, as foreseen.
        costs: of the machine.
        cores: of it: programs start side by side.
    """
    prediction, window = found.prediction, scenario.window
    site = found.site
    lay_down_s = found.preload_bytes / GIB * costs.check_s_per_gib
    load = scenario.workload
    turns = math.inf  # of an agent
    if load.sessions == "one":
        whole = found.means.session_turns
        turns = whole if load.start == "cold" else (whole + 1) / 2  # entered anywhere
    lengths = {}
    for name, policy in prediction.policies.items():
        turn_s = mean_turn_s(
            found.agents, policy.turns_per_s, prediction.service_s, found.times.think_s
        )
        warm_up_s = max(turn_s, opening_s(0.0, turn_s, window.warm_up, window.warm_up_turns))
        left_s = max(0.0, turns * (turn_s + found.times.think_s) - warm_up_s)
        alone_s = prediction.service_s if has_idle_request(scenario, name) else 0.0
        lengths[name] = RunLength(
            costs.bring_up_s + site.footprint.bring_up_s,
            costs.load_s + site.processes * costs.program_s / cores,
            lay_down_s + alone_s + warm_up_s,
            min(scenario.duration, left_s),
            turn_s if left_s > scenario.duration else 0.0,
        )
    return lengths


def mean_turn_s(agents: int, turns_per_s: float, service_s: float, think_s: float) -> float:
    """From submission to end of a turn: Little's law, and no sooner than in an empty cluster."""
    if not math.isfinite(turns_per_s):
        return service_s
    return max(service_s, agents / turns_per_s - think_s)
