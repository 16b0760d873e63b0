"""A node's process: `python -m agents.node --name pe0 --cluster FILE`."""

from __future__ import annotations

from agents.cluster import Cluster
from agents.engines.decode import DecodeNode
from agents.engines.prefill import PrefillNode
from agents.process import Process, main


def node(name: str, cluster: Cluster) -> Process:
    """The prefill or decode node of that name."""
    return PrefillNode(name, cluster) if name in cluster.prefill else DecodeNode(name, cluster)


if __name__ == "__main__":
    main(node)
