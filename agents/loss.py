"""What survivors of a node's loss are told: whatever they expected of it will never come."""

from __future__ import annotations

from collections.abc import Container, Iterable


class NodeGone(Exception):
    """A node was declared lost, and something was expected of it.

    Args:
        node: the node.
    """

    def __init__(self, node: str) -> None:
        super().__init__(f"{node} was lost")
        self.node = node


def bereft(lost: Container[str], prefill: Iterable[str], decode: Iterable[str]) -> str:
    """The role of which all nodes are lost: nothing can be served; "" if there is none."""
    for role, nodes in (("prefill", prefill), ("decode", decode)):
        if all(node in lost for node in nodes):
            return role
    return ""
