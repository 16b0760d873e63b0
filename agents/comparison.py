"""What a run's policies come to beside each other, and beside what was predicted of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from agents.settings import DualPathScenario
from testbed.experiment.workload import Outcome


def comparison(
    scenario: DualPathScenario, prediction: Mapping[str, Any], outcomes: Mapping[str, Outcome]
) -> dict[str, Any]:
    """Scale, engines, bytes verified, and the speed-up of each policy over the first."""
    summaries = {name: outcome.summary for name, outcome in outcomes.items()}
    baseline = next(iter(summaries.values()), {})
    realised = scenario.realised_scale

    def over_first(name: str, metric: str) -> float | None:
        mine, first = summaries[name].get(metric), baseline.get(metric)
        return mine / first if mine is not None and first else None

    metrics = ("kv_load_bps", "turns_per_s")
    modelled = {
        name: prediction[name]
        for name in ("modelled_caps_turns_per_s", "modelled_speedup")
        if name in prediction
    }
    return modelled | {
        "engines": scenario.engines,
        "scale": {
            "rate": scenario.scale.rate,
            "bytes": scenario.scale.bytes,
            "bytes_realised": realised.bytes,
            "stretch": realised.stretch,
        },
        "bytes_verified": sum(s.get("bytes_verified", 0) for s in summaries.values()),
        "speedup": {
            name: {metric: over_first(name, metric) for metric in metrics} for name in summaries
        },
        "predicted": {
            name: {
                "kv_load_bps": found["kv_load_bps"],
                "speedup": found["speedup"],
                "bound_by": found["bound_by"],
                "binds": found["binds"],
            }
            for name, found in prediction["policies"].items()
        },
        "caps_turns_per_s": {
            name: cap if cap is not None and math.isfinite(cap) else None
            for name, cap in prediction["caps_turns_per_s"].items()
        },
    }
