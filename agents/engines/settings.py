"""The sections `prefill` and `buffers` of a scenario: batches of engines, and memory for KV.

Sizes and times are those of the real cluster.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from testbed.experiment.scenario import DurationS, Section, SizeBytes


class Prefill(Section):
    """How prefill engines make batches, and what of a request is in their HBM."""

    layerwise: bool = True
    """HBM holds few layers of a request; false: all of its layers, so that HBM bounds the batch."""

    quota: Annotated[DurationS, Field(gt=0)] = 0.3
    """Attention time that one iteration of an engine may take, in real time."""

    attention_tflops: float = Field(default=989.0, gt=0)
    """Rate at which attention time follows from its FLOPs; default H100's, dense BF16."""

    layers_per_transfer: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    """Layers that travel together; auto makes a transfer of the mean prompt about 128 KiB."""

    hbm_layers: int | None = Field(default=None, ge=1)
    """Layers of one request that a prefill engine's HBM holds at most.  The unit is a transfer:
    default 2 × layers_per_transfer, one that computes while the next arrives (`testbed predict`
    shows both); two layers are `layers_per_transfer: 1, hbm_layers: 2`."""

    concurrent_requests: int = Field(default=4, ge=1)
    """Requests that one engine works on at a time, when engines are network-only."""

    @model_validator(mode="after")
    def _fits(self) -> Prefill:
        wanted, limit = self.layers_per_transfer, self.hbm_layers
        if wanted != "auto" and limit is not None and wanted > limit:
            raise ValueError(f"a transfer of {wanted} layers does not fit hbm_layers: {limit}")
        return self


class Buffers(Section):
    """Capacities of memory, as in the real cluster; what is left out follows from the load."""

    pe: SizeBytes | None = None
    """DRAM of a prefill node for KV that it reads."""

    de: SizeBytes | None = None
    """DRAM of a decode node for whole prompts."""

    staging: SizeBytes | None = None
    """DRAM of each node for what is on its way to HBM or to storage."""

    hbm: SizeBytes = 40 * 2**30
    """HBM of one engine for KV; not a limit when engines are network-only."""

    prefill_hbm: SizeBytes | None = None
    """HBM of one prefill engine for KV, if that is another: weights take their part of it."""
