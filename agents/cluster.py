"""What every process of a run is told: the cluster, the sizes, the switches.

The workload writes one file of this per policy; each process reads it at its start.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from agents.blocks.layout import KVLayout
from agents.faults import Step
from agents.storage.placement import Placement
from agents.traces.load import TraceSpec
from agents.traffic.sizes import Execution
from agents.traffic.submission import SubmissionCosts

SCHEDULER, CLIENT = "sched", "client"
"""The control processes, by the names of their hosts in a topology."""


class Compute(msgspec.Struct, frozen=True):
    """How long engines compute; durations are emulated (already multiplied by the stretch).

    Args:
        seconds_per_flop: of one prefill engine.
        active_parameters: N of the compute model.
        attention_flops: (context length, FLOPs per appended token) points, linear in between.
        tpot_s: time per output token of a decode engine at a typical batch.
        decode_weights_s, decode_kv_s_per_token, decode_s_per_flop, decode_overhead_s: of a decode
            step, see `agents.compute.tpot`.
        batch_gain: (requests, relative rate) points, see `agents.compute.batch_gain`.
        attention_seconds_per_flop: of attention at the engine's theoretical rate.
    """

    seconds_per_flop: float
    active_parameters: float
    attention_flops: list[tuple[float, float]]
    tpot_s: float
    decode_weights_s: float = 0.0
    decode_kv_s_per_token: float = 0.0
    decode_s_per_flop: float = 0.0
    decode_overhead_s: float = 0.0
    batch_gain: tuple[tuple[float, float], ...] = ((1.0, 1.0),)
    attention_seconds_per_flop: float = 0.0


class Buffers(msgspec.Struct, frozen=True):
    """Capacities of the arenas, in bytes.

    Args:
        pe_buffer: DRAM of a prefill node for hit KV read on its side.
        de_buffer: DRAM of a decode node for whole prompts.
        staging: DRAM for layer groups on their way to HBM, and for blocks on their way to storage.
        hbm, prefill_hbm: of one decode engine, of one prefill engine.
    """

    pe_buffer: int
    de_buffer: int
    staging: int
    hbm: int
    prefill_hbm: int


class Arrivals(msgspec.Struct, frozen=True):
    """Sessions that arrive by a Poisson process; emulated.

    Args:
        per_s: mean arrivals per second.
        turn_s: expected time of a turn, pauses apart.
    """

    per_s: float
    turn_s: float


class Scheduling(msgspec.Struct, frozen=True):
    """How requests find engines; see `agents.scheduler.settings` for the choices.

    Args:
        fetch_period_s: between two fetches of a group, emulated.
        alpha_tokens, beta_tokens: limits of read_q and tok_e.
        attempts: tries of a request.
    """

    placement: Literal["adaptive", "least-tokens", "round-robin"]
    fetch_period_s: float
    alpha_tokens: int
    beta_tokens: int
    unreported: Literal["counted", "ignored"]
    read_queue_falls: Literal["completion", "bytes"]
    free_hbm: Literal["net", "gross"]
    ties: Literal["seeded", "first"]
    prefill_scope: Literal["cluster", "group"]
    attempts: int = 3


class Steady(msgspec.Struct, frozen=True):
    """How long a turn is expected to take, emulated: agents enter sessions by their durations.

    Args:
        turn_s: of a turn, decoding apart.
        token_s: for each token that it generates.
    """

    turn_s: float
    token_s: float


class Load(msgspec.Struct, frozen=True):
    """What the client offers, and for how long; all durations are emulated.

    Args:
        trace: where sessions come from.
        agents: in a closed loop, or in flight when arrivals begin.
        start: "warm" enters sessions midway, "cold" at their first turn.
        least_warmup_s, warmup_turns: the window opens after the longer of this time and so many
            mean turn times.
        window_s: from the window's opening to the end of submissions.
        arrivals: of sessions; None for a closed loop, or a trace released by the clock.
        steady: a warm closed loop enters as it would be after a long time; None: any session
            alike.
        endless: an agent of a closed loop begins a session when it has ended one.
    """

    trace: TraceSpec
    agents: int
    start: Literal["warm", "cold"]
    least_warmup_s: float
    warmup_turns: float
    window_s: float
    arrivals: Arrivals | None = None
    steady: Steady | None = None
    endless: bool = True


class Cluster(msgspec.Struct, frozen=True):
    """A cluster as its processes see it.

    Args:
        control: process -> management address.
        prefill, decode, storage: node names; `rails` engines on each prefill and decode node.
        addresses: domain -> device -> IPv4 address.
        layout: sizes of a Full Block and of a Layer Block.
        layers_per_transfer: layers fused into one transfer.
        hbm_layers: layers of one request that a prefill engine's HBM may hold (k).
        engine_requests: requests that one prefill engine works on at a time, network-only.
        read_window: storage reads in flight for one node.
        write_bytes: longest one-sided write; longer transfers are cut.
        storage_bytes: capacity of each storage node.
        storage_eviction: what happens when it is full: see `agents.storage.store`.
        extent_blocks: blocks of a prefix that one storage node keeps.
        scheduling: how requests find engines.
        quota_s: attention time that one prefill iteration may take, emulated.
        layerwise: prefill HBM holds `hbm_layers` of a request; else all of its layers.
        moves_kv: engines read, load and return KV; else they only compute.
        policy: name of a read-path policy, or FILE.py:CLASS.
        load: what the client offers.
        records: directory for record files.
        kv: how engines make KV: see `agents.blocks.maker`.
        traffic: which way a GPU's bytes go.
        execution: traffic of model execution; None for none.
        batched: transfers that wait for one queue pair share system calls.
        submission: emulated cost of submitting transfers; None for none.
        snic_bps, cnic_bps: rates of a node's NICs: what they are taken to carry until it has been
            measured.
        cache_bytes: of each decode node, for KV that it keeps after use; 0 for none.
        faults: what goes wrong on purpose; if anything does, the loss of a node is survived.
        silent_after_s: without a word for so long a node counts as lost.
        incarnation: how often the process that reads this has been started again.
        idle_request: serve one request alone, before the load; see `agents.idle_overhead`.
    """

    control: dict[str, str]
    prefill: list[str]
    decode: list[str]
    storage: list[str]
    rails: int
    addresses: dict[str, dict[str, str]]
    layers: int
    layer_block_bytes: int
    block_tokens: int
    layers_per_transfer: int
    hbm_layers: int
    engine_requests: int
    read_window: int
    write_bytes: int
    engines: Literal["modelled", "network-only"]
    compute: Compute
    buffers: Buffers
    storage_directory: str
    storage_bytes: int
    storage_eviction: Literal["lru", "none"]
    extent_blocks: int
    scheduling: Scheduling
    policy: str
    load: Load
    seed: int
    records: str
    quota_s: float
    layerwise: bool
    moves_kv: bool
    kv: Literal["generated", "transformer"] = "generated"
    traffic: Literal["cnic-centric", "direct", "no-lanes"] = "cnic-centric"
    execution: Execution | None = None
    batched: bool = True
    submission: SubmissionCosts | None = None
    snic_bps: float = 400e9
    cnic_bps: float = 400e9
    cache_bytes: int = 0
    faults: list[Step] = []
    silent_after_s: float = 0.0
    incarnation: int = 0
    idle_request: bool = False

    def local_device(self, rail: int) -> str:
        """The port of a node's DRAM that its own engine `rail` is reached by."""
        return f"pcie{rail}" if self.traffic == "direct" else f"cnic{rail}"

    @property
    def schedulers(self) -> int:
        """How many there will have been, one after the other."""
        return 1 + sum(step.target == SCHEDULER and step.action == "start" for step in self.faults)

    @property
    def layout(self) -> KVLayout:
        """The sizes of KV blocks."""
        return KVLayout(self.layers, self.layer_block_bytes, self.block_tokens)

    def placement(self) -> Placement:
        """Which storage node keeps which blocks."""
        return Placement(self.storage, self.extent_blocks)

    @property
    def slots(self) -> int:
        """Layer groups of one request that fit its share of a prefill engine's HBM."""
        groups = -(-self.layers // self.layers_per_transfer)
        if not self.layerwise:
            return groups
        return min(groups, max(1, self.hbm_layers // self.layers_per_transfer))


def write(cluster: Cluster, path: Path) -> None:
    """Store the cluster for its processes."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(cluster)))


def read(path: Path) -> Cluster:
    """What `write` stored."""
    return msgspec.json.decode(path.read_bytes(), type=Cluster)
