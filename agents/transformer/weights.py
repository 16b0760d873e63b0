"""Seeded weights, and the rotation of positions."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from agents.transformer.config import Config
from agents.transformer.exact import ONE, Exact, as_weights

_ROPE_BASE = 10_000.0
ROTATION_ONE = 2.0**14
# Random weights attend to everything alike unless queries are long: with this, a head attends to
# some tokens of its context, and which ones depends on all of it.
_QUERY_GAIN = 3.0


class LayerWeights(NamedTuple):
    """One layer; every matrix is (inputs, outputs)."""

    query: Exact
    key: Exact
    value: Exact
    output: Exact
    gate: Exact
    up: Exact
    down: Exact


class Weights(NamedTuple):
    """A whole model.

    Args:
        embedding: shape (vocabulary, hidden), activations.
        layers: first to last.
        head: shape (hidden, vocabulary).
        cosines, sines: shape (max_context, head_dim / 2), in units of 2^-14.
    """

    embedding: Exact
    layers: list[LayerWeights]
    head: Exact
    cosines: Exact
    sines: Exact


def make_weights(config: Config) -> Weights:
    """The weights of a configuration: a function of it alone."""
    rng = np.random.default_rng(config.seed)
    query, kv = config.heads * config.head_dim, config.kv_heads * config.head_dim

    def matrix(inputs: int, outputs: int, gain: float = 1.0) -> Exact:
        return as_weights(rng.normal(size=(inputs, outputs)) * (gain / math.sqrt(inputs)))

    embedding = np.rint(rng.normal(size=(config.vocabulary, config.hidden)) * ONE)
    layers = [
        LayerWeights(
            query=matrix(config.hidden, query, _QUERY_GAIN),
            key=matrix(config.hidden, kv),
            value=matrix(config.hidden, kv),
            output=matrix(query, config.hidden),
            gate=matrix(config.hidden, config.mlp),
            up=matrix(config.hidden, config.mlp),
            down=matrix(config.mlp, config.hidden),
        )
        for _ in range(config.layers)
    ]
    head = matrix(config.hidden, config.vocabulary)
    pairs = np.arange(config.head_dim // 2) * (2.0 / config.head_dim)
    angles = np.outer(np.arange(config.max_context), _ROPE_BASE**-pairs)
    cosines, sines = np.rint(np.cos(angles) * ROTATION_ONE), np.rint(np.sin(angles) * ROTATION_ONE)
    return Weights(embedding, layers, head, cosines, sines)
