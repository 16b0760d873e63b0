"""What `testbed predict` says of a DualPath scenario, and what it refuses.

Pure but for the machine's own figures, which are given.
"""

from __future__ import annotations

import math
from typing import Any

from agents.bounds import best_split
from agents.capacity import MachineLimits
from agents.costing.kept import Known
from agents.forecast import Forecast, forecast
from agents.run_length import run_lengths
from agents.scaling import Carried
from agents.settings import DualPathScenario
from agents.traffic.foreseen import fusing_figures
from testbed.errors import CapacityError, ScenarioError
from testbed.units import show_size


def figures(
    scenario: DualPathScenario, found: Forecast, known: Known, limits: MachineLimits
) -> dict[str, Any]:
    """Everything that is predicted, as plain data.

    Args:
        scenario, found: what is run, as foreseen with the costs of `known`.
        known: costs, and where they are from.
        limits: of the machine.
    """
    prediction, scale = found.prediction, scenario.realised_scale
    lengths = run_lengths(scenario, found, known.costs, limits.cores)
    caps = dict(prediction.caps_turns_per_s)
    caps["best-split"] = min(best_split(found.shape, found.turn).turns_per_s, caps["storage-snics"])
    calibration_s = found.site.calibration_s if scenario.calibration else 0.0
    policies = {
        name: {
            "turns_per_s": _finite(policy.turns_per_s),
            "kv_load_bps": _finite(policy.kv_load_bps),
            "bound_by": policy.bound_by,
            "binds": policy.binds,
            "share": policy.share,
            "speedup": policy.speedup,
            "cores": _finite(found.needs[name].cores),
            "agents_cores": _finite(found.needs[name].agents_cores),
            "process_cores": _finite(found.needs[name].process_cores),
            "memory_bytes": found.memory_bytes,
            "messages_per_s": _finite(found.needs[name].messages_per_s),
            "timers_per_s": _finite(found.needs[name].timers_per_s),
            **lengths[name]._asdict(),
            "length_s": lengths[name].length_s,
        }
        for name, policy in prediction.policies.items()
    }
    return {
        **_with_compute(scenario, found),
        "caps_turns_per_s": {name: _finite(cap) for name, cap in caps.items()},
        "policies": policies,
        "scale": {
            "rate": scenario.scale.rate,
            "bytes": scenario.scale.bytes,
            "bytes_realised": scale.bytes,
            "stretch": scale.stretch,
        },
        "agents": found.agents,
        "agents_needed": prediction.agents,
        "service_s": prediction.service_s,
        "mean_turn": {
            "hit_bytes": found.turn.hit,
            "miss_bytes": found.turn.miss,
            "generated_bytes": found.turn.generated,
            "hit_tokens": found.means.hit_tokens,
            "miss_tokens": found.means.miss_tokens,
            "generate_tokens": found.means.generate_tokens,
        },
        "layers_per_transfer": found.layers_per_transfer,
        "hbm_layers": found.hbm_layers,
        "collectives": fusing_figures(scenario, found),
        "calibration_s": calibration_s,
        "length_s": calibration_s + sum(length.length_s for length in lengths.values()),
        "cores": _finite(found.cores),
        "cores_available": limits.cores,
        "cores_allowed": limits.allowed_cores,
        "memory_bytes": found.memory_bytes,
        "memory_allowed_bytes": limits.allowed_bytes,
        "messages_per_s": _finite(max(need.messages_per_s for need in found.needs.values())),
        "timers_per_s": _finite(max(need.timers_per_s for need in found.needs.values())),
        "costs": known.figures(),
    }


def refuse(
    scenario: DualPathScenario, found: Forecast, known: Known, limits: MachineLimits
) -> None:
    """Refuse what the machine cannot carry.

    Args:
        scenario, found, known, limits: as `figures`.

    Raises:
        CapacityError: with the largest scale that it can carry.
    """
    if limits.carry(found.cores, found.process_cores, found.memory_bytes):
        return
    now = f"at scale.rate {scenario.scale.rate:g}, scale.bytes {scenario.scale.bytes:g} the run"
    if found.cores > limits.allowed_cores:
        what = (
            f"{now} would keep {found.cores:.3g} cores busy; {100 * limits.cpu_share:.3g}% of the "
            f"{limits.cores:g} of this machine is {limits.allowed_cores:.3g}"
        )
    elif found.process_cores > limits.allowed_process_cores:
        what = (
            f"{now} would keep one process {found.process_cores:.2f} of a core busy; it can have "
            f"one, and may take {limits.allowed_process_cores:.2f}"
        )
    else:
        what = (
            f"{now} would need {show_size(found.memory_bytes)} of memory; of what is available it "
            f"may take {show_size(limits.allowed_bytes)}"
        )
    raise CapacityError(what, hint=f"{_way_out(scenario, found, known, limits)}{_doubt(known)}")


def _way_out(
    scenario: DualPathScenario, found: Forecast, known: Known, limits: MachineLimits
) -> str:
    largest = Carried(scenario, found.site, known.costs, limits).largest()
    if largest is None:
        return (
            "no scale is small enough: choose a smaller topology or fewer agents, or a larger "
            "cpu_share"
        )
    return (
        f"the largest scale that it carries is scale.rate={largest.rate:g}, "
        f"scale.bytes={largest.bytes!r}; --scale auto takes that"
    )


def _doubt(known: Known) -> str:
    return "" if known.of_this_machine else f"; by the costs of a reference machine: {known.why}"


def _with_compute(scenario: DualPathScenario, found: Forecast) -> dict[str, Any]:
    """What the same cluster would do if its engines computed; nothing if they do."""
    if scenario.engines == "modelled":
        return {}
    try:
        modelled = forecast(scenario.model_copy(update={"engines": "modelled"}), found.site)
    except ScenarioError:
        return {}  # how fast engines compute this model is not known
    caps = modelled.prediction.caps_turns_per_s
    policies = modelled.prediction.policies
    return {
        "modelled_caps_turns_per_s": {name: _finite(cap) for name, cap in caps.items()},
        "modelled_speedup": {name: policy.speedup for name, policy in policies.items()},
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
