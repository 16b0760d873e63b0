"""Which way of making KV a cluster's engines use."""

from __future__ import annotations

from agents.blocks.generated import GeneratedKV
from agents.blocks.maker import KVMaker
from agents.cluster import Cluster
from agents.transformer.config import TINY
from agents.transformer.maker import TransformerKV


def kv_maker(cluster: Cluster) -> KVMaker:
    """The maker for an engine of this cluster."""
    if cluster.kv == "transformer":
        return TransformerKV(TINY, cluster.layout)
    return GeneratedKV(cluster.layout)
