"""Arithmetic whose result does not depend on how the work is cut.

Floating-point sums depend on their order, and a BLAS chooses the order by the shapes: the KV of a
token would depend on how many tokens are prefilled with it.  Here every operand of a *sum* is an
integer (kept in a float64), small enough for all partial sums to stay below 2^53: they are exact,
in any order, under any BLAS.  Between sums stand element-wise operations that IEEE 754 rounds
correctly (+ - * / sqrt rint): the same bits wherever in an array an element stands.  `np.exp`
is not one of them.

    activations  units of 2^-24, at most 2^28 (the residual stream 2^30)
    weights      units of 2^-10, at most 2^12
    keys, values units of 2^-12, 16 bits
    attention    weights in units of 2^-24, the largest of a row is 1

The largest sums: 2^28 · 2^12 · 256 dimensions = 2^48; 2^28 · 2^15 · 256 = 2^51;
2^24 · 2^15 · 8192 tokens = 2^52.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Exact: TypeAlias = NDArray[np.float64]
"""Integers in float64."""

ONE = 2.0**24
WEIGHT_ONE = 2.0**10
KV_ONE = 2.0**12
_LIMIT = 2.0**28
_RESIDUAL_LIMIT = 2.0**30
_WEIGHT_LIMIT = 2.0**12
_KV_LIMIT = 2.0**15
_COARSE = 2.0**-8  # squares of the residual stream in units of 2^-16: 64 · 2^44 = 2^50 in all
_SMALLEST_EXPONENT = -64.0  # 2^-64 of an attention weight is none
# 2^f on [0, 1]: the Taylor series of exp(f ln 2), right to 1e-13.
_EXP2 = [math.log(2.0) ** k / math.factorial(k) for k in range(14)]


def saturate(values: Exact) -> Exact:
    """The nearest activations."""
    return np.clip(np.rint(values), -_LIMIT, _LIMIT)


def as_weights(values: Exact) -> Exact:
    """The nearest weights to real numbers."""
    return np.clip(np.rint(values * WEIGHT_ONE), -_WEIGHT_LIMIT, _WEIGHT_LIMIT)


def as_kv(values: Exact) -> NDArray[np.int16]:
    """Activations as keys or values are stored."""
    scaled = np.rint(values * (KV_ONE / ONE))
    return np.clip(scaled, -_KV_LIMIT, _KV_LIMIT - 1).astype("<i2")


def linear(rows: Exact, weights: Exact) -> Exact:
    """Activations, shape (rows, n), through weights, shape (n, m)."""
    return saturate((rows @ weights) / WEIGHT_ONE)


def add(residual: Exact, update: Exact) -> Exact:
    """The residual stream after a block."""
    return np.clip(residual + update, -_RESIDUAL_LIMIT, _RESIDUAL_LIMIT)


def rms_norm(residual: Exact) -> Exact:
    """Every row at a root mean square of 1 (Zhang and Sennrich, 2019); gains are in the weights."""
    coarse = np.rint(residual * _COARSE)
    mean = np.square(coarse).sum(axis=-1, keepdims=True) / residual.shape[-1]
    return saturate(residual * (_COARSE * ONE) / np.sqrt(mean + 1.0))


def exp2(values: Exact) -> Exact:
    """2 to the power of real numbers ≤ 0, element by element."""
    values = np.maximum(values, _SMALLEST_EXPONENT)
    whole = np.floor(values)
    part = values - whole
    result = np.full_like(part, _EXP2[-1])
    for coefficient in reversed(_EXP2[:-1]):
        result *= part
        result += coefficient
    return np.ldexp(result, whole.astype(np.int32))


def swiglu(gate: Exact, up: Exact) -> Exact:
    """silu(gate) · up (Shazeer, 2020)."""
    decay = exp2(-np.abs(gate) * (math.log2(math.e) / ONE))
    sigmoid = np.where(gate >= 0, 1.0, decay) / (1.0 + decay)
    return saturate(gate * sigmoid * up / ONE)


def softmax_weights(scores: Exact, seen: NDArray[np.bool_], log2_scale: float) -> Exact:
    """Attention weights of rows of scores, not yet divided by their sums.

    Args:
        scores: exact, shape (…, rows, tokens).
        seen: shape (rows, tokens): what each row may attend to, at least one token.
        log2_scale: a score times this is an exponent of 2.
    """
    largest = np.where(seen, scores, -np.inf).max(axis=-1, keepdims=True)
    exponents = np.minimum((scores - largest) * log2_scale, 0.0)
    return np.where(seen, np.rint(exp2(exponents) * ONE), 0.0)
