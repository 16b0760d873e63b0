"""A small cluster, as its processes are told of it."""

from __future__ import annotations

from pathlib import Path

from agents.cluster import Buffers, Cluster, Compute, Load, Scheduling
from agents.traces.load import TraceSpec

CAPACITY = 20
"""Blocks of its storage node."""


def small_cluster(tmp_path: Path) -> Cluster:
    """One prefill, one decode and one storage node, of 20 blocks."""
    return Cluster(
        control={"st0": "127.0.0.1"}, prefill=["pe0"], decode=["de0"], storage=["st0"], rails=1,
        addresses={}, layers=2, layer_block_bytes=30, block_tokens=64, layers_per_transfer=1,
        hbm_layers=2, engine_requests=1, read_window=4, write_bytes=1 << 16,
        engines="network-only", compute=Compute(0.0, 0.0, [(0.0, 0.0)], 0.0),
        buffers=Buffers(1, 1, 1, 1, 1), storage_directory=str(tmp_path / "kv"),
        storage_bytes=CAPACITY * 60, storage_eviction="lru", extent_blocks=64, policy="pe-only",
        scheduling=Scheduling(
            "adaptive", 0.02, 1, 1, "counted", "completion", "net", "seeded", "cluster"
        ),
        load=Load(TraceSpec("agentic", 0), 1, "warm", 0.0, 0.0, 1.0), seed=0,
        records=str(tmp_path), quota_s=0.0, layerwise=True, moves_kv=True,
    )  # fmt: skip
