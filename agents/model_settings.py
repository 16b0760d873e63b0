"""The sections of a scenario that say which model is served, and how fast engines compute it."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from agents.compute import FITTED_BATCH_GAIN, BatchCurve
from agents.models import PRESETS, Attention, Model
from testbed.experiment.scenario import DurationS, Section


class AttentionSection(Section):
    """One kind of attention of a model, all its layers together."""

    flops_per_context_token: float = Field(gt=0)
    """FLOPs of one appended token for each token that it attends to."""

    window: int | None = Field(default=None, ge=1)
    """Tokens that it attends to at most."""


class ModelSection(Section):
    """The model: a preset, any part of which can be replaced, or one's own."""

    preset: str | None = "ds-660b"
    """Name of a preset; null for a model that is described here in full."""

    layers: int | None = Field(default=None, ge=1)
    """Layers that have KV."""

    kv_bytes_per_token: int | None = Field(default=None, ge=1)
    """KV of a token, all layers."""

    active_parameters: float | None = Field(default=None, gt=0)
    """Parameters that take part in one token."""

    attention: list[AttentionSection] | None = Field(default=None, min_length=1)
    """The kinds of attention; their FLOPs add up."""

    max_context: int | None = Field(default=None, ge=64)
    """Longest context, in tokens."""

    hidden_size: int | None = Field(default=None, ge=1)
    """Elements of a token's activation: what model execution sends of it."""

    routed_experts: int | None = Field(default=None, ge=0)
    """Routed experts of a layer; 0 for a dense model."""

    active_experts: int | None = Field(default=None, ge=0)
    """Routed experts that a token visits."""

    @field_validator("preset")
    @classmethod
    def _known(cls, preset: str | None) -> str | None:
        if preset is not None and preset not in PRESETS:
            raise ValueError(f"there is no model {preset!r}; there are {', '.join(PRESETS)}")
        return preset

    @model_validator(mode="after")
    def _complete(self) -> ModelSection:
        if self.preset is None:
            optional = {"hidden_size", "routed_experts", "active_experts"}
            parts = self.model_dump(exclude={"preset", *optional})
            missing = [name for name, value in parts.items() if value is None]
            if missing:
                raise ValueError(f"a model without a preset needs {', '.join(missing)}")
        return self

    def resolved(self, name: str) -> Model:
        """The preset with its replacements; `name` is that of a model without a preset."""
        parts = self.model_dump(exclude={"preset", "attention", "max_context"}, exclude_none=True)
        if self.attention is not None:
            parts["attention"] = tuple(
                Attention(kind.flops_per_context_token, kind.window) for kind in self.attention
            )
        if self.max_context is not None:
            parts["max_context_tokens"] = self.max_context
        if self.preset is None:
            return Model(name, **parts)
        preset = PRESETS[self.preset]
        if self.layers is not None:
            parts["collective_layers"] = None  # all of them: which have experts is not said
        # What is stated here is neither fitted nor derived any more.
        fitted = tuple(part for part in preset.fitted if part not in parts)
        derived = tuple(part for part in preset.derived if part not in parts)
        return replace(preset, **parts, fitted=fitted, derived=derived)


class Compute(Section):
    """How fast engines compute, in real time; what is left out the model's preset knows."""

    prefill_tflops: float | None = Field(default=None, gt=0)
    """Effective TFLOP/s of one prefill engine, at the batch where batch_gain ends."""

    tpot: Annotated[DurationS, Field(gt=0)] | None = None
    """Time per output token, whatever the batch; default by batch and context."""

    batch_gain: Literal["fitted", "none"] | list[tuple[float, float]] = "fitted"
    """Gain of larger prefill batches: (requests, relative token throughput) points."""

    @field_validator("batch_gain")
    @classmethod
    def _rising(cls, curve: str | list[tuple[float, float]]) -> str | list[tuple[float, float]]:
        if isinstance(curve, str):
            return curve
        batches = [requests for requests, _ in curve]
        if not curve or batches[0] < 1 or sorted(set(batches)) != batches:
            raise ValueError("batch sizes rise, from 1 or more: [[1, 1.0], [10, 2.95]]")
        if min(gain for _, gain in curve) <= 0:
            raise ValueError("a batch of any size has a throughput above 0")
        return curve

    @property
    def prefill_flops_per_s(self) -> float | None:
        """Effective FLOP/s of one prefill engine; None for the model's."""
        return None if self.prefill_tflops is None else self.prefill_tflops * 1e12

    @property
    def curve(self) -> BatchCurve:
        """The gain of larger batches as points."""
        if self.batch_gain == "none":
            return ((1.0, 1.0),)
        return FITTED_BATCH_GAIN if isinstance(self.batch_gain, str) else tuple(self.batch_gain)


class Hardware(Section):
    """A hardware trend: GPUs against NICs; from Ampere to Blackwell 28.8 against 2.0."""

    flops: float = Field(default=1.0, gt=0)
    """Engines compute so many times faster; HBM and overheads stay as they are."""

    nic: float = Field(default=1.0, gt=0)
    """NICs of both kinds are so many times faster."""
