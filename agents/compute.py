"""How long prefill and decode compute: FLOPs over an effective rate, stretched with the run.

Source: the cache/compute analysis of DualPath, section 3 and Table 1; rates fitted to its
figures 7 and 10.
"""

from __future__ import annotations

from agents.cluster import Compute
from agents.models import Model, breakpoints
from testbed.errors import ScenarioError


def attention_points(model: Model) -> list[tuple[float, float]]:
    """F(L) as (context tokens, FLOPs per appended token) points: linear in between, exactly."""
    return [(float(at), model.attention_flops(at)) for at in breakpoints(model)]


def prefill_flops(model: Model, context_tokens: float, append_tokens: float) -> float:
    """FLOPs to prefill `append_tokens` after `context_tokens`: A·(2N + mean F over the append).

    The n-th appended token attends to the context and the n tokens before it, so F is averaged from
    the context's length to the prompt's.
    """
    mean = _mean_attention_flops(model, context_tokens, context_tokens + append_tokens)
    return append_tokens * (2 * model.active_parameters + mean)


def emulated_compute(
    model: Model, stretch: float, *, prefill_flops_per_s: float | None, tpot_s: float | None
) -> Compute:
    """The compute model that engines are given; durations are emulated.

    Args:
        model: gives what the arguments leave None.
        stretch: emulated time / real time.
        prefill_flops_per_s: effective rate of one prefill engine of the real cluster.
        tpot_s: real time per output token.

    Raises:
        ScenarioError: neither the model nor the arguments say how fast engines are.
    """
    flops_per_s, tpot_s = engine_speeds(
        model, prefill_flops_per_s=prefill_flops_per_s, tpot_s=tpot_s
    )
    return Compute(
        seconds_per_flop=stretch / flops_per_s,
        active_parameters=model.active_parameters,
        attention_flops=attention_points(model),
        tpot_s=tpot_s * stretch,
    )


def engine_speeds(
    model: Model, *, prefill_flops_per_s: float | None, tpot_s: float | None
) -> tuple[float, float]:
    """Effective FLOP/s of a prefill engine and seconds per output token, given or the model's.

    Raises:
        ScenarioError: one of them is known from nowhere.
    """
    flops_per_s = prefill_flops_per_s or model.prefill_flops_per_s
    tpot_s = tpot_s if tpot_s is not None else model.tpot_s
    if flops_per_s is None or tpot_s is None:
        raise ScenarioError(
            f"how fast engines compute {model.name} is not known",
            hint="state compute.prefill_tflops and compute.tpot, or choose engines: network-only",
        )
    return flops_per_s, tpot_s


def _mean_attention_flops(model: Model, first: float, last: float) -> float:
    """The mean of F between two context lengths: an integral of straight pieces."""
    if last <= first:
        return model.attention_flops(first)
    inside = [float(at) for at in breakpoints(model) if first < at < last]
    edges = [first, *inside, last]
    values = [model.attention_flops(at) for at in edges]
    area = sum(
        (b - a) * (value_a + value_b) / 2
        for a, b, value_a, value_b in zip(edges, edges[1:], values, values[1:], strict=False)
    )
    return area / (last - first)
