"""How long prefill and decode compute: FLOPs over an effective rate, stretched with the run.

Source: the cache/compute analysis of DualPath, section 3 and Table 1; rates fitted to its
figures 7 and 10.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeAlias

import msgspec

from agents.cluster import Compute
from agents.models import Model, breakpoints
from testbed.errors import ScenarioError

BatchCurve: TypeAlias = tuple[tuple[float, float], ...]

# Relative token throughput at 1, 5 and 10 requests of 30K context and 300 appended: fitted to
# DualPath, figure 3 right.
FITTED_BATCH_GAIN: BatchCurve = ((1.0, 1.0), (5.0, 2.55), (10.0, 2.95))
_FITTED_APPEND_TOKENS = 300


def attention_points(model: Model) -> list[tuple[float, float]]:
    """F(L) as (context tokens, FLOPs per appended token) points: linear in between, exactly."""
    return [(float(at), model.attention_flops(at)) for at in breakpoints(model)]


def prefill_flops(model: Model, context_tokens: float, append_tokens: float) -> float:
    """FLOPs to prefill `append_tokens` after `context_tokens`: A·(2N + mean F over the append)."""
    dense = 2 * model.active_parameters * append_tokens
    return dense + prefill_attention_flops(model, context_tokens, append_tokens)


def prefill_attention_flops(model: Model, context_tokens: float, append_tokens: float) -> float:
    """Those of attention: A·(mean F over the append).

    The n-th appended token attends to the context and the n tokens before it, so F is averaged from
    the context's length to the prompt's.
    """
    mean = _mean_attention_flops(model, context_tokens, context_tokens + append_tokens)
    return append_tokens * mean


def emulated_compute(
    model: Model,
    stretch: float,
    *,
    prefill_flops_per_s: float | None = None,
    tpot_s: float | None = None,
    curve: BatchCurve = FITTED_BATCH_GAIN,
    flops_trend: float = 1.0,
) -> Compute:
    """The compute model that engines are given; durations are emulated.

    Args:
        model: gives what the arguments leave None.
        stretch: emulated time / real time.
        prefill_flops_per_s: effective rate of one prefill engine of the real cluster.
        tpot_s: real time per output token, whatever the batch; None for the model's steps.
        curve: of the gain of larger prefill batches.
        flops_trend: engines compute so many times faster.  HBM and overheads stay as they are.

    Raises:
        ScenarioError: neither the model nor the arguments say how fast engines are.
    """
    flops_per_s, typical_s = engine_speeds(
        model, prefill_flops_per_s=prefill_flops_per_s, tpot_s=tpot_s, flops_trend=flops_trend
    )
    compute = Compute(
        seconds_per_flop=stretch / flops_per_s,
        active_parameters=model.active_parameters,
        attention_flops=attention_points(model),
        tpot_s=typical_s * stretch,
        decode_overhead_s=typical_s * stretch,
        batch_gain=curve,
    )
    step = model.decode
    if tpot_s is not None or step is None:
        return compute
    return msgspec.structs.replace(
        compute,
        decode_weights_s=step.weight_bytes / step.hbm_bytes_per_s * stretch,
        decode_kv_s_per_token=model.kv_bytes_per_token / step.hbm_bytes_per_s * stretch,
        decode_s_per_flop=compute.seconds_per_flop,
        decode_overhead_s=step.overhead_s * stretch,
    )


def engine_speeds(
    model: Model,
    *,
    prefill_flops_per_s: float | None,
    tpot_s: float | None,
    flops_trend: float = 1.0,
) -> tuple[float, float]:
    """Effective FLOP/s of a prefill engine and typical seconds per output token.

    Args:
        prefill_flops_per_s, tpot_s: given; None for the model's.
        flops_trend: engines compute so many times faster.

    Raises:
        ScenarioError: one of them is known from nowhere.
    """
    flops_per_s = prefill_flops_per_s or model.prefill_flops_per_s
    if flops_per_s is not None:
        flops_per_s *= flops_trend
    if tpot_s is None:
        tpot_s = replace(model, prefill_flops_per_s=flops_per_s).tpot_s
    if flops_per_s is None or tpot_s is None:
        raise ScenarioError(
            f"how fast engines compute {model.name} is not known",
            hint="state compute.prefill_tflops and compute.tpot, or choose engines: network-only",
        )
    return flops_per_s, tpot_s


def tpot(compute: Compute, requests: int, context_tokens: float) -> float:
    """Emulated seconds of one decode step: max(memory, compute) + overhead.

    An engine reads its weights and the KV of every request from HBM, and computes one token for
    each.  Where the scenario states a time per output token, it takes that, whatever the batch.

    Args:
        requests: that take part.
        context_tokens: of each, on average.
    """
    memory_s = compute.decode_weights_s + requests * context_tokens * compute.decode_kv_s_per_token
    attention = _linear(compute.attention_flops, context_tokens)
    flops = requests * (2 * compute.active_parameters + attention)
    return max(memory_s, flops * compute.decode_s_per_flop) + compute.decode_overhead_s


def batch_gain(curve: BatchCurve, requests: float) -> float:
    """Rate of a prefill engine at a batch of so many requests, over `prefill_tflops`.

    `prefill_tflops` is the rate at the curve's last point (a batch of 10 on the fitted one), so
    this is 1 there and beyond, and less for smaller batches.

    Args:
        curve: (requests, relative token throughput) points, linear in between.
        requests: in the batch; may be a fraction where a request is cut.
    """
    return _linear(curve, requests) / curve[-1][1]


def batch_size(tokens: Iterable[float]) -> float:
    """Requests of a batch, as the curve of `batch_gain` counts them.

    It was fitted to requests that append 300 tokens.  One that appends more fills an engine like
    several of them: a prompt of thousands of tokens is no small batch.

    Args:
        tokens: computed of each request.
    """
    return sum(max(1.0, count / _FITTED_APPEND_TOKENS) for count in tokens)


def _linear(points: Sequence[tuple[float, float]], at: float) -> float:
    """A piecewise-linear function; flat beyond its ends."""
    after = bisect_right(points, at, key=_first)
    if after == 0 or after == len(points):
        return points[min(after, len(points) - 1)][1]
    (x0, y0), (x1, y1) = points[after - 1], points[after]
    return y0 + (y1 - y0) * (at - x0) / (x1 - x0)


def _first(point: tuple[float, float]) -> float:
    return point[0]


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
