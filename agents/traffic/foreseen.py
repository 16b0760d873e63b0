"""Collectives in the forecast of a run: how they are fused."""

from __future__ import annotations

from typing import Any

from agents.forecast import Forecast
from agents.settings import DualPathScenario
from agents.traffic.offered import fusing_of


def fusing_figures(scenario: DualPathScenario, found: Forecast) -> dict[str, Any]:
    """How many layers share a collective, and the messages that they are, by role."""
    if not scenario.traffic.collectives:
        return {}
    fused = fusing_of(scenario, found.shape, found.passes)
    return {role: one._asdict() for role, one in fused.items()}
