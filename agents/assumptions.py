"""Which figures behind a run's results were fitted or derived, for want of published ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from agents.settings import DualPathScenario

# Of a model's fields, those that matter only where engines compute.
_OF_COMPUTE = {"active_parameters", "attention", "prefill_flops_per_s", "decode"}


class Assumptions(NamedTuple):
    """Names of what the results rest on, e.g. "model.decode".

    Args:
        fitted: chosen so that published measurements come out.
        derived: calculated from fitted or published figures of something else.
    """

    fitted: list[str]
    derived: list[str]


def assumptions(scenario: DualPathScenario) -> Assumptions:
    """What a run of this scenario rests on; what the scenario states itself is no assumption."""
    model, compute = scenario.resolved_model, scenario.compute
    passed_over = set() if scenario.engines == "modelled" else set(_OF_COMPUTE)
    if compute.prefill_tflops is not None:
        passed_over.add("prefill_flops_per_s")
    if compute.tpot is not None:
        passed_over.add("decode")
    fitted = [f"model.{name}" for name in model.fitted if name not in passed_over]
    derived = [f"model.{name}" for name in model.derived if name not in passed_over]
    if scenario.engines == "modelled" and compute.batch_gain == "fitted":
        fitted.append("compute.batch_gain")
    return Assumptions(fitted, derived)
