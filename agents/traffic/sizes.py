"""How many bytes the collectives of a token in a layer are, and where they go.

Expert parallelism sends each token to the `top_k` experts that the router chooses, and their
results back.  The choice is taken as uniform over all experts, which are spread evenly over the
engines of a group; what is sent is then the mean.  Sources: DeepSeek-V3 (arXiv 2412.19437,
section 3.2: dispatch in FP8, combine in BF16, one copy a node over the network and NVLink from
there); ring all-reduce: Patarasuk and Yuan, J. Parallel Distrib. Comput. 69 (2009).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec

Copies = Literal["expert", "node"]
FP8_BYTES, BF16_BYTES = 1, 2
ALL_REDUCES_PER_LAYER = 2  # after attention and after the FFN (Megatron-LM, arXiv 1909.08053)


class Execution(msgspec.Struct, frozen=True):
    """The model-execution traffic of a run; bytes are emulated.

    Args:
        experts: routed experts of a layer; 0 for a dense model.
        top_k: of them that a token is sent to.
        dispatch_bytes, combine_bytes: one copy of a token on its way to an expert, and back.
        reduce_bytes: dense: what a token adds to one all-reduce.
        layer_share: layers that have collectives / layers that have KV.
        copies: "expert": a copy of a token for every expert; "node": one for every node that has
            some of them (and one for every GPU there).
        ep_domain: "role": experts are spread over all engines of a role; "node": over a node's.
        nvlink: whether traffic inside a node is emulated.
        fused_layers: layers that share a collective, by role.
        digest: check the digest of every write.
    """

    experts: int
    top_k: int
    dispatch_bytes: float
    combine_bytes: float
    reduce_bytes: float
    layer_share: float
    copies: Copies
    ep_domain: Literal["role", "node"]
    nvlink: bool
    fused_layers: dict[str, int]
    digest: bool = True


class Spread(NamedTuple):
    """Copies of one token that go each way, in the mean.

    Args:
        node: to each other node, by the CNIC.
        gpu: to each other GPU of a node, by NVLink: of the own node, or on from the CNIC's GPU.
    """

    node: float
    gpu: float


def spread(execution: Execution, nodes: int, rails: int) -> Spread:
    """Where the copies of a token go.

    Args:
        execution: experts, top_k and copies.
        nodes, rails: engines of the group are nodes × rails.
    """
    top_k, experts = execution.top_k, execution.experts
    if execution.copies == "expert":
        return Spread(top_k / nodes, top_k / (nodes * rails))
    return Spread(
        chance_of_any(experts, top_k, experts / nodes),
        chance_of_any(experts, top_k, experts / (nodes * rails)),
    )


def chance_of_any(experts: int, top_k: int, some: float) -> float:
    """The chance that one of `top_k` different experts is among `some` of all of them."""
    none = 1.0
    for taken in range(top_k):
        none *= max(0.0, experts - some - taken) / (experts - taken)
    return 1.0 - none


def messages_per_exchange(nodes: int, rails: int, *, nvlink: bool) -> int:
    """Transfers that one engine's all-to-all takes: to every peer and back, forwards included."""
    forwards = nodes * (rails - 1) if nvlink else 0
    return 2 * (nodes - 1 + forwards)


def messages_per_ring(rails: int) -> int:
    """Transfers of one ring all-reduce among a node's GPUs."""
    return 2 * (rails - 1) * rails


class Carry:
    """Whole bytes of sizes that are not whole: what is left over is sent next time."""

    def __init__(self) -> None:
        self._left = 0.0

    def whole(self, size_bytes: float) -> int:
        """Bytes to send now; over time all of them are sent, and none too many."""
        exact = self._left + size_bytes
        whole = int(exact)
        self._left = exact - whole
        return whole
