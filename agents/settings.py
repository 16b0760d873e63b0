"""The sections that a DualPath scenario adds to every scenario's own.

Rates, sizes and times are those of the real cluster; what is emulated follows from `scale`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from agents.blocks.layout import KVLayout, from_model
from agents.cache_settings import CacheSection
from agents.compute import engine_speeds
from agents.engines.settings import Buffers, Prefill
from agents.fault_settings import Fault, check_times
from agents.model_settings import Compute, Hardware, ModelSection
from agents.models import PRESETS, Model
from agents.scheduler.settings import SchedulerSection
from agents.storage.settings import Storage
from agents.traces.load import TraceSpec
from agents.traffic.settings import TrafficSection
from agents.variants import Variant, check_variant, label, variant
from agents.workload_settings import Workload
from testbed.errors import ScenarioError, TestbedError
from testbed.experiment.scale import Scale
from testbed.experiment.scenario import DurationS, RateBps, Scenario, Section
from testbed.plan.graph import LEAST_RATE_BPS, MOST_RATE_BPS
from testbed.units import show_rate

_AUTO_TRANSFER_BYTES = 128 * 1024  # large enough for its cost in Python not to show
_OUR_PARAMETERS = {"cnic_mbit": "cnic", "nvlink_mbit": "nvlink", "pcie_mbit": "pcie"}
_LONGEST_FETCH_S = 1.0  # between fetches of real tokens, emulated
# Before a node counts as lost: an overloaded machine is no dead node.
_LEAST_SILENCE_S, _SILENT_FETCHES, _LEAST_FETCHES = 5.0, 20, 4
# A trace that is released by the clock must not end before the window that follows warm-up.
_OPEN_LENGTH = 3


class Cluster(Section):
    """The real cluster."""

    cnic: Annotated[RateBps, Field(gt=0)] = 400_000_000_000
    """Rate B of a compute NIC; a storage NIC has s·B, and s is the topology's."""

    nvlink: Annotated[RateBps, Field(gt=0)] | None = None
    """Rate of a GPU's NVLink port, each way; null: traffic between a node's GPUs is left out."""

    pcie: Annotated[RateBps, Field(gt=0)] = 512_000_000_000
    """Rate of a GPU's PCIe link to DRAM, each way; it is there with traffic: direct only."""


class Window(Section):
    """The steady window: one rule for all policies."""

    warm_up: DurationS = 5.0
    """It opens no sooner than this, in emulated time."""

    warm_up_turns: float = Field(default=3.0, ge=0)
    """And no sooner than so many mean turn times."""

    tolerance: float = Field(default=0.05, gt=0, lt=1)
    """First and last third may differ by this share."""


class DualPathScenario(Scenario):
    """A run of agents on an emulated DualPath cluster, once for each read-path policy."""

    cluster: Cluster = Cluster()
    """The real cluster."""

    model: ModelSection = ModelSection()
    """The model that is served."""

    engines: Literal["modelled", "network-only"] = "modelled"
    """network-only: no compute or decode time, and HBM is not a limit."""

    kv: Literal["generated", "transformer"] = "generated"
    """generated: KV bytes follow from block hashes.  transformer: a small model (preset tiny)
    computes them, and every token is compared with what one process finds."""

    compute: Compute = Compute()
    """How fast engines compute, when they are modelled."""

    hardware: Hardware = Hardware()
    """Faster GPUs against faster NICs."""

    prefill: Prefill = Prefill()
    """Layerwise prefill."""

    read_window: int = Field(default=4, ge=1)
    """Storage reads under way at a time for one node."""

    workload: Workload = Workload()
    """What the agents do."""

    scheduler: SchedulerSection = SchedulerSection()
    """Which engines serve a request, and when that is decided."""

    traffic: TrafficSection = TrafficSection()
    """Which way a GPU's bytes go, and model execution: cnic-centric, direct or no-lanes."""

    policies: list[str] = Field(default=["pe-only", "shorter-queue"], min_length=1)
    """Read-path policies to compare, the first is the baseline; your own: mine.py:Policy.
    `basic` is pe-only without layerwise prefill, `oracle` computes without moving KV."""

    buffers: Buffers = Buffers()
    """Capacities of memory."""

    cache: CacheSection = CacheSection()
    """KV that decode nodes keep in DRAM after its use, for policies that take it from there."""

    storage: Storage = Storage()
    """The emulated storage."""

    window: Window = Window()
    """The steady window."""

    faults: list[Fault] = []
    """What goes wrong on purpose.  With one, the loss of a node is survived; without, it ends the
    run."""

    cpu_share: float = Field(default=0.7, gt=0, le=1)
    """Share of this machine's CPU that a run may be predicted to take: below what the verdict
    allows, for a prediction errs."""

    @field_validator("policies")
    @classmethod
    def _usable(cls, policies: list[str]) -> list[str]:
        for name in policies:
            try:
                check_variant(name)
            except TestbedError as error:
                raise ValueError("; ".join(filter(None, (error.message, error.hint)))) from None
        labels = [label(name) for name in policies]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(f"named twice: {', '.join(twice)}")
        return policies

    @model_validator(mode="after")
    def _can_be_emulated(self) -> DualPathScenario:
        real_bps = self.cluster.cnic * self.hardware.nic
        rate_bps = self.scale.emulated_rate_bps(real_bps)
        if not LEAST_RATE_BPS <= rate_bps <= MOST_RATE_BPS:
            raise ValueError(
                f"scale.rate={self.scale.rate:g} makes a CNIC of {show_rate(real_bps)}/s "
                f"one of {show_rate(rate_bps)}/s; links take {show_rate(LEAST_RATE_BPS)}/s … "
                f"{show_rate(MOST_RATE_BPS)}/s"
            )
        return self

    @model_validator(mode="after")
    def _bytes_are_left(self) -> DualPathScenario:
        try:
            _ = self.layout
        except ScenarioError as error:
            raise ValueError(f"{error.message}; {error.hint}") from None
        return self

    @model_validator(mode="after")
    def _rate_is_ours(self) -> DualPathScenario:
        for parameter, rate in _OUR_PARAMETERS.items():
            if parameter in self.topology.set:
                raise ValueError(
                    f"topology.set.{parameter} follows from cluster.{rate} and scale.rate; "
                    "set these"
                )
        return self

    @model_validator(mode="after")
    def _collectives_have_gaps(self) -> DualPathScenario:
        if self.traffic.collectives and self.engines == "network-only":
            raise ValueError(
                "traffic.collectives come between layers that are computed: engines: modelled"
            )
        return self

    @model_validator(mode="after")
    def _can_be_computed(self) -> DualPathScenario:
        if self.kv == "generated":
            return self
        needs = {
            "model: {preset: tiny}": self.resolved_model == PRESETS["tiny"],
            "scale.bytes: 1": self.scale.bytes == 1,
            "workload.kind: agentic": self.workload.kind == "agentic",
            "workload.start: cold": self.workload.start == "cold",
            "scheduler.fetch_period: 2us": self._fetches_in_time,
            "policies without oracle, which moves no KV": "oracle" not in self.policies,
        }
        missing = [need for need, met in needs.items() if not met]
        if missing:
            raise ValueError(f"kv: transformer needs {', '.join(missing)}")
        return self

    @property
    def _fetches_in_time(self) -> bool:
        """Unscaled bytes stretch times by the whole rate scale: engines could fetch too late."""
        period_s = self.scale.emulated_s(self.scheduler.fetch_period)
        return self.scheduler.placement != "adaptive" or period_s <= _LONGEST_FETCH_S

    @model_validator(mode="after")
    def _faults_come(self) -> DualPathScenario:
        check_times(self.faults, self.window.warm_up + self.duration)
        period_s = self.scale.emulated_s(self.scheduler.fetch_period)
        if self.silent_after_s < _LEAST_FETCHES * period_s:
            raise ValueError(
                f"scheduler.silent_after: {self.silent_after_s:g}s is less than {_LEAST_FETCHES} "
                f"fetch periods of {period_s:g}s, emulated: nodes that are well would count as lost"
            )
        return self

    @model_validator(mode="after")
    def _something_is_left(self) -> DualPathScenario:
        if self.engines == "network-only" and "oracle" in self.policies:
            raise ValueError(
                "oracle moves no KV and network-only engines do not compute: nothing is left to "
                "run; choose engines: modelled"
            )
        return self

    # --- what follows from the sections ---------------------------------------------------

    @property
    def variants(self) -> Mapping[str, Variant]:
        """Label of each entry of `policies` -> what it runs."""
        layerwise = self.prefill.layerwise
        return {label(name): variant(name, layerwise=layerwise) for name in self.policies}

    @property
    def silent_after_s(self) -> float:
        """After how long without a word a node counts as lost, emulated."""
        given = self.scheduler.silent_after
        if given != "auto":
            return given
        return max(
            _LEAST_SILENCE_S, _SILENT_FETCHES * self.scale.emulated_s(self.scheduler.fetch_period)
        )

    @property
    def topology_settings(self) -> dict[str, str]:
        """The topology's parameters, with the emulated rates of the GPUs' links in Mbit."""
        real = {
            "cnic_mbit": self.cluster.cnic * self.hardware.nic,
            "nvlink_mbit": self.cluster.nvlink,
            "pcie_mbit": self.cluster.pcie if self.traffic.mode == "direct" else None,
        }
        emulated = {
            name: f"{self.scale.emulated_rate_bps(rate) / 1e6:g}"
            for name, rate in real.items()
            if rate is not None
        }
        return {**self.topology.settings, **emulated}

    @property
    def resolved_model(self) -> Model:
        """The preset with its replacements."""
        return self.model.resolved(self.name)

    @property
    def engine_speeds(self) -> tuple[float, float]:
        """Real FLOP/s of a prefill engine and typical seconds per output token.

        Raises:
            ScenarioError: how fast engines compute this model is not known.
        """
        return engine_speeds(
            self.resolved_model,
            prefill_flops_per_s=self.compute.prefill_flops_per_s,
            tpot_s=self.compute.tpot,
            flops_trend=self.hardware.flops,
        )

    @property
    def layout(self) -> KVLayout:
        """Sizes of emulated KV blocks, in whole bytes."""
        model = self.resolved_model
        return from_model(model.kv_bytes_per_token, model.layers, self.scale.bytes).layout

    @property
    def realised_scale(self) -> Scale:
        """The scale that the rounding of Layer Blocks gives: what figures are converted by."""
        model = self.resolved_model
        scaled = from_model(model.kv_bytes_per_token, model.layers, self.scale.bytes)
        return Scale(rate=self.scale.rate, bytes=scaled.realised_scale)

    @property
    def max_context_tokens(self) -> int:
        """Longest context of the run: the workload's limit, within the model's."""
        limit = self.resolved_model.max_context_tokens
        wanted = self.workload.max_context
        return limit if wanted == "model" else min(limit, wanted)

    @property
    def trace_spec(self) -> TraceSpec:
        """The trace, in emulated time."""
        load, stretch = self.workload, self.realised_scale.stretch
        file = "" if load.file is None else str(_expanded(load.file))
        limit_s = None if load.think_limit is None else load.think_limit * stretch
        return TraceSpec(
            kind=load.kind,
            seed=self.seed,
            trace=load.trace,
            file=file,
            max_context_tokens=self.max_context_tokens,
            append_scale=load.append_scale,
            generation_scale=load.generation_scale,
            time_factor=stretch / load.time_compression,
            skip_s=load.skip,
            length_s=_OPEN_LENGTH * self.duration if load.kind == "mooncake" else None,
            think_factor=stretch if load.think == "trace" else 0.0,
            think_limit_s=limit_s,
            think_s=load.think_time * stretch,
            every=load.every,
        )

    def layers_per_transfer(self, prompt_tokens: float) -> int:
        """Layers that travel together.

        Args:
            prompt_tokens: of the mean prompt.
        """
        layout = self.layout
        wanted = self.prefill.layers_per_transfer
        if wanted != "auto":
            return min(wanted, layout.layers)
        # Two transfers fit HBM where it has room for two layers: one loads, one is computed.
        limit = layout.layers if self.prefill.hbm_layers is None else self.prefill.hbm_layers // 2
        layer_bytes = prompt_tokens * layout.layer_block_bytes / layout.block_tokens
        return max(1, min(round(_AUTO_TRANSFER_BYTES / layer_bytes), layout.layers, limit))

    def hbm_layers(self, layers_per_transfer: int) -> int:
        """Layers of one request in a prefill engine's HBM."""
        return self.prefill.hbm_layers or 2 * layers_per_transfer


def _expanded(file: str) -> Path:
    return Path(os.path.expandvars(file)).expanduser().resolve()
