"""What the scheduler knows of engines between reports: what was reported, and what it did since.

A *group* is the engines of one node.  Its leader reports, at every fetch, for each engine the
unfinished requests (seq_e) and their tokens (tok_e), for a decode engine its HBM, and for the node
the storage reads that are not finished (read_q): DualPath, section 6.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

Unreported = Literal["counted", "ignored"]
FreeHBM = Literal["net", "gross"]
Ties = Literal["seeded", "first"]


class EngineReport(msgspec.Struct, frozen=True, array_like=True):
    """One engine's account.

    Args:
        requests: seq_e, those that it was given and has not finished.
        tokens: tok_e, theirs, hit tokens included.
        free_hbm_bytes: of a decode engine, not allocated now.
        reserved_hbm_bytes: what its requests will need that have no HBM yet.
    """

    requests: int
    tokens: int
    free_hbm_bytes: int = 0
    reserved_hbm_bytes: int = 0


class GroupReport(msgspec.Struct, frozen=True, array_like=True):
    """What the leader of a group says at a fetch.

    Args:
        node: whose engines they are.
        engines: by rail.
        read_queue_tokens, read_queue_requests: storage reads of the node that are not finished.
        taken: requests that entered an engine's account since the report before, ended or not.
        reads_taken: requests whose reads entered the read queue since then.
    """

    node: str
    engines: list[EngineReport]
    read_queue_tokens: int = 0
    read_queue_requests: int = 0
    taken: list[int] = []
    reads_taken: list[int] = []


class Ask(NamedTuple):
    """A request, as far as placing it goes.

    Args:
        prompt_tokens: what a prefill engine has to process, hit tokens included.
        tokens: prompt and generation, what a decode engine has to hold.
        hbm_bytes: for those, at the decode engine.
    """

    request: int
    prompt_tokens: int
    tokens: int
    hbm_bytes: int


class Pick(NamedTuple):
    """An engine for a request."""

    request: int
    node: str
    rail: int


class _Load(NamedTuple):
    """What a request adds to its engine."""

    rail: int
    tokens: int
    hbm_bytes: int


class EngineTable:
    """The engines of one role, as the scheduler believes them to be.

    Args:
        nodes: the groups.
        rails: engines of each.
        unreported: "counted": what was assigned and is in no report yet is added to the report
            (the default: a request may be long on its way to its prefill engine).  "ignored": a
            report replaces all that was assigned before it, and reads count when reported.
        free_hbm: "gross": what is free right now (the default: HBM that a request will need only
            after its prefill is of use until then); "net" of what requests without HBM will need.

    `tokens`, `requests` and `free_bytes` are arrays [group, rail]; `read_tokens` and `known` (the
    group has reported) are [group].
    """

    def __init__(
        self,
        nodes: Sequence[str],
        rails: int,
        *,
        unreported: Unreported = "counted",
        free_hbm: FreeHBM = "gross",
    ) -> None:
        self.nodes = tuple(nodes)
        self.rails = rails
        self.index = {node: group for group, node in enumerate(self.nodes)}
        shape = (len(self.nodes), rails)
        self.tokens: NDArray[np.int64] = np.zeros(shape, np.int64)
        self.requests: NDArray[np.int64] = np.zeros(shape, np.int64)
        self.free_bytes: NDArray[np.int64] = np.zeros(shape, np.int64)
        self.read_tokens: NDArray[np.int64] = np.zeros(len(self.nodes), np.int64)
        self.read_requests = [0] * len(self.nodes)
        self.known: NDArray[np.bool_] = np.zeros(len(self.nodes), np.bool_)
        self._counts = unreported == "counted"
        self._net = free_hbm == "net"
        # By group: request -> what it adds to the last report.
        self._loads: list[dict[int, _Load]] = [{} for _ in self.nodes]
        self._reads: list[dict[int, int]] = [{} for _ in self.nodes]

    def report(self, report: GroupReport) -> None:
        """A group has reported.

        Raises:
            KeyError: it is not one of this role.
        """
        group = self.index[report.node]
        loads, reads = self._loads[group], self._reads[group]
        if self._counts:
            for request in report.taken:
                loads.pop(request, None)
            for request in report.reads_taken:
                reads.pop(request, None)
        else:
            loads.clear()
        tokens = [engine.tokens for engine in report.engines]
        requests = [engine.requests for engine in report.engines]
        free = [
            engine.free_hbm_bytes - (engine.reserved_hbm_bytes if self._net else 0)
            for engine in report.engines
        ]
        for load in loads.values():
            tokens[load.rail] += load.tokens
            requests[load.rail] += 1
            free[load.rail] -= load.hbm_bytes
        self.tokens[group] = tokens
        self.requests[group] = requests
        self.free_bytes[group] = free
        self.read_tokens[group] = report.read_queue_tokens + sum(reads.values())
        self.read_requests[group] = report.read_queue_requests + len(reads)
        self.known[group] = True

    def lose(self, node: str) -> None:
        """A group is lost: nothing is known of it any more."""
        group = self.index[node]
        self.known[group] = False
        self._loads[group].clear()
        self._reads[group].clear()
        for column in (self.tokens, self.requests, self.free_bytes, self.read_tokens):
            column[group] = 0
        self.read_requests[group] = 0

    def assign(self, request: int, group: int, rail: int, tokens: int, hbm_bytes: int = 0) -> None:
        """An engine is given a request."""
        self._loads[group][request] = _Load(rail, tokens, hbm_bytes)
        self.tokens[group, rail] += tokens
        self.requests[group, rail] += 1
        self.free_bytes[group, rail] -= hbm_bytes

    def read(self, request: int, node: str, tokens: int) -> None:
        """A node will read a request's hit tokens."""
        if not self._counts:
            return
        group = self.index[node]
        self._reads[group][request] = tokens
        self.read_tokens[group] += tokens
        self.read_requests[group] += 1

    def ended(self, request: int, node: str) -> None:
        """A request has ended; if no report of its node has ever had it, none will."""
        group = self.index[node]
        load = self._loads[group].pop(request, None)
        if load is not None:
            self.tokens[group, load.rail] -= load.tokens
            self.requests[group, load.rail] -= 1
            self.free_bytes[group, load.rail] += load.hbm_bytes
        tokens = self._reads[group].pop(request, None)
        if tokens is not None:
            self.read_tokens[group] -= tokens
            self.read_requests[group] -= 1


class TieBreak:
    """Which of equals: by a hash of seed and request, alike in every run, or the first.

    Args:
        ties: "seeded" or "first".
        seed: of the hash.
    """

    def __init__(self, ties: Ties, seed: int) -> None:
        self.seeded = ties == "seeded"
        self._seed = seed

    def choose(self, request: int, equals: Sequence[int] | NDArray[np.intp]) -> int:
        """One of them."""
        if not self.seeded or len(equals) == 1:
            return int(equals[0])
        draw = xxhash.xxh3_64_intdigest(request.to_bytes(8, "little"), self._seed)
        return int(equals[draw % len(equals)])
