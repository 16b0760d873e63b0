"""All-to-all among the engines of a role: tokens to their experts, and the results back.

Experts are served *passively*.  The engine that has tokens begins (`Exchange.run`): it sends each
other node one dispatch over its own rail, and each GPU of its own node one over NVLink.  Where a
dispatch arrives it is answered at once with a combine of the size that follows from it; in between
it is forwarded by NVLink to the GPUs that hold the experts, and their results are gathered.

    pe0g0 ── DISPATCH ──> pe1g0 ── FORWARD ──> pe1g1, pe1g2, …
          <── COMBINE ───       <── GATHER ───

So a collective needs no member to be in a step of its own: engines without tokens host experts and
do nothing else, nobody waits for a barrier, and no order of calls can deadlock: whoever serves
never waits, and whoever waits (the beginner) is waited for by nobody.  When all engines of a role
have tokens, as in a full batch, all of them begin and the sum is the usual all-to-all.  What
this leaves out: an engine whose host is late to *compute* (its own step is longer) would answer
later.  The experts' computing is counted at the engine that has the tokens.

An engine has one exchange under way at a time, so each landing place has one writer and one
write of it at a time.
"""

from __future__ import annotations

import asyncio
import itertools
import struct
import time
from typing import NamedTuple

from agents.ports import Ports
from agents.traffic.members import SLOT_BYTES, Members
from agents.traffic.sizes import Carry, Execution, spread
from agents.wire.immediates import Immediate, Kind
from agents.wire.pair_names import parse_pair
from agents.wire.transfers import Transfer
from agents.wire.transport import Received

_BELOW_ENGINE_BITS = 26  # of an operation's number: a bit for the role, and a counter
_COUNTER_BITS = _BELOW_ENGINE_BITS - 1
_HEAD = struct.Struct("<d")  # before results: when the tokens had arrived, time.monotonic()


class Finished(NamedTuple):
    """What an operation came to.

    Args:
        number: of the operation, as in the records of its transfers.
        size_bytes: that this engine sent and was sent.
        dispatched_s: when the last of its tokens had reached their experts.
    """

    number: int
    size_bytes: int
    dispatched_s: float


class _Begun:
    """An exchange of an engine of this process that is under way.

    Args:
        rail: of the engine.
        owing: engines whose results are not back.
    """

    def __init__(self, rail: int, owing: set[int]) -> None:
        self.rail = rail
        self.owing = owing
        self.size_bytes = 0
        self.dispatched_s = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def answered(self, engine: int) -> None:
        """An engine's results are back, or will never be."""
        self.owing.discard(engine)
        if not self.owing and not self.done.done():
            self.done.set_result(None)


class _Relayed:
    """A dispatch from another node that has been forwarded and waits for results."""

    def __init__(self, forwards: int, size_bytes: int, arrived_s: float) -> None:
        self.left = forwards
        self.size_bytes = size_bytes
        self.arrived_s = arrived_s


class Exchange:
    """The all-to-all of one node's engines, and the experts that they host.

    Args:
        ports: of the node.
        members: of the role.
        execution: sizes.
        memories: the inbox of each rail.
        activations: what is sent: bytes that never change.
    """

    def __init__(
        self,
        ports: Ports,
        members: Members,
        execution: Execution,
        memories: list[memoryview],
        activations: memoryview,
    ) -> None:
        self._ports = ports
        self._members = members
        self._execution = execution
        self._memories = memories
        self._activations = activations
        self._keys: list[list[int]] = []  # of the inboxes, by node and rail
        self._spread = spread(execution, len(members.nodes), members.rails)
        self._carries = [(Carry(), Carry()) for _ in range(members.rails)]
        self._begun: dict[int, _Begun] = {}
        self._relayed: dict[int, _Relayed] = {}
        self._counter = itertools.count()
        for kind, handler in (
            (Kind.DISPATCH, self._tokens_arrived),
            (Kind.FORWARD, self._forward_arrived),
            (Kind.GATHER, self._gathered),
            (Kind.COMBINE, self._results_arrived),
        ):
            ports.handle(kind, handler)

    def landing(self, keys: list[list[int]]) -> None:
        """The keys of all engines' inboxes, by node and rail."""
        self._keys = keys

    def number(self, rail: int) -> int:
        """A number for an operation that an engine begins, unlike any other's of the run."""
        engine = self._members.engine(self._members.number, rail)
        role = self._members.role == "decode"
        count = next(self._counter) % (1 << _COUNTER_BITS)
        return engine << _BELOW_ENGINE_BITS | role << _COUNTER_BITS | count

    # --- the engine that has tokens ------------------------------------------------------

    async def run(self, rail: int, token_layers: float) -> Finished:
        """Dispatch and combine.

        Args:
            rail: of the engine.
            token_layers: tokens × layers with experts.

        Returns:
            When all results are back; of several parts, if no landing place holds it, the sum.
        """
        sizes = [
            carry.whole(token_layers * self._execution.dispatch_bytes * copies)
            for carry, copies in zip(self._carries[rail], self._spread, strict=True)
        ]
        parts = max(1, -(-max(sizes) // self._most_bytes()))
        last = Finished(0, 0, 0.0)
        total = 0
        for part in range(parts):
            to_node, to_gpu = (size * (part + 1) // parts - size * part // parts for size in sizes)
            last = await self._part(rail, to_node, to_gpu)
            total += last.size_bytes
        return last._replace(size_bytes=total)

    def _most_bytes(self) -> int:
        """Of a dispatch whose results fit a landing place, too."""
        return int((SLOT_BYTES - _HEAD.size) / max(1.0, self._ratio())) - 1

    def _ratio(self) -> float:
        return self._execution.combine_bytes / self._execution.dispatch_bytes

    async def _part(self, rail: int, to_node: int, to_gpu: int) -> Finished:
        members = self._members
        own = members.engine(members.number, rail)
        number = self.number(rail)
        remote, others = members.remote, members.others(rail)
        if not remote and not others:
            return Finished(number, 0, time.monotonic())
        owing = {members.engine(node, rail) for node in remote}
        owing |= {members.engine(members.number, other) for other in others}
        begun = self._begun[number] = _Begun(rail, owing)
        begun.size_bytes = len(remote) * to_node + len(others) * to_gpu
        at = members.tokens_at(own)
        for node in remote:
            self._post(
                members.to_node(rail, node), Kind.DISPATCH, number, members.engine(node, rail),
                self._keys[node][rail], at, self._activations[:to_node],
            )  # fmt: skip
        for other in others:
            self._post(
                members.to_gpu(rail, other), Kind.DISPATCH, number,
                members.engine(members.number, other),
                self._keys[members.number][other], at, self._activations[:to_gpu],
            )  # fmt: skip
        try:
            await begun.done
        finally:
            del self._begun[number]
        return Finished(number, begun.size_bytes, begun.dispatched_s)

    def _results_arrived(self, what: Immediate, received: Received) -> None:
        begun = self._begun[what.number]
        rail = self._rail(received)
        at = self._members.results_at(what.part)
        begun.size_bytes += received.offset + received.length - at
        begun.dispatched_s = max(begun.dispatched_s, self._arrived_s(rail, at))
        begun.answered(what.part)

    def lose(self, node: str) -> None:
        """A node is lost: nobody waits for its experts any more, and they get no tokens.

        What they would have added is left out: this is traffic, not a model's result.
        """
        number = self._members.lose(node)
        if number is None:
            return
        for begun in list(self._begun.values()):
            begun.answered(self._members.engine(number, begun.rail))

    # --- the engines that host experts ---------------------------------------------------

    def _tokens_arrived(self, what: Immediate, received: Received) -> None:
        members = self._members
        rail = self._rail(received)
        initiator = what.number >> _BELOW_ENGINE_BITS
        node, begun_on = divmod(initiator, members.rails)
        at = members.tokens_at(initiator)
        size = received.offset + received.length - at
        if node == members.number:
            self._answer(
                members.to_gpu(rail, begun_on), Kind.COMBINE, what.number,
                members.engine(node, rail), self._keys[node][begun_on],
                members.results_at(members.engine(node, rail)), size, received.last_byte_s,
            )  # fmt: skip
            return
        others = members.others(rail)
        relayed = _Relayed(len(others), size, received.last_byte_s)
        self._relayed[what.number] = relayed
        share = min(size, round(size * self._spread.gpu / self._spread.node))
        for other in others:
            self._post(
                members.to_gpu(rail, other), Kind.FORWARD, what.number, other,
                self._keys[members.number][other], at, self._memories[rail][at : at + share],
            )  # fmt: skip
        self._answer_if_complete(what.number, relayed)

    def _forward_arrived(self, what: Immediate, received: Received) -> None:
        members = self._members
        rail = self._rail(received)
        initiator = what.number >> _BELOW_ENGINE_BITS
        node, relay = divmod(initiator, members.rails)
        size = received.offset + received.length - members.tokens_at(initiator)
        self._answer(
            members.to_gpu(rail, relay), Kind.GATHER, what.number, rail,
            self._keys[members.number][relay], members.results_at(members.engine(node, rail)),
            size, received.last_byte_s,
        )  # fmt: skip

    def _gathered(self, what: Immediate, received: Received) -> None:
        members = self._members
        relayed = self._relayed[what.number]
        node = (what.number >> _BELOW_ENGINE_BITS) // members.rails
        at = members.results_at(members.engine(node, what.part))
        relayed.arrived_s = max(relayed.arrived_s, self._arrived_s(self._rail(received), at))
        relayed.left -= 1
        self._answer_if_complete(what.number, relayed)

    def _answer_if_complete(self, number: int, relayed: _Relayed) -> None:
        if relayed.left:
            return
        del self._relayed[number]
        members = self._members
        node, rail = divmod(number >> _BELOW_ENGINE_BITS, members.rails)
        own = members.engine(members.number, rail)
        self._answer(
            members.to_node(rail, node), Kind.COMBINE, number, own, self._keys[node][rail],
            members.results_at(own), relayed.size_bytes, relayed.arrived_s,
        )  # fmt: skip

    # --- both ----------------------------------------------------------------------------

    def _rail(self, received: Received) -> int:
        return self._members.rail_of(parse_pair(received.peer).local)

    def _arrived_s(self, rail: int, at: int) -> float:
        """What the head of results says."""
        (arrived_s,) = _HEAD.unpack_from(self._memories[rail], at)
        return float(arrived_s)

    def _answer(
        self,
        pair: str,
        kind: Kind,
        number: int,
        part: int,
        key: int,
        at: int,
        tokens_bytes: int,
        arrived_s: float,
    ) -> None:
        """Results of so many bytes of tokens, which had arrived then."""
        head = memoryview(_HEAD.pack(arrived_s))
        body = self._activations[: round(tokens_bytes * self._ratio())]
        self._post(pair, kind, number, part, key, at, head, body)

    def _post(
        self, pair: str, kind: Kind, number: int, part: int, key: int, at: int, *sources: memoryview
    ) -> None:
        transfer = Transfer(kind, number, part, sources, key, at, digest=self._execution.digest)
        self._ports.post(pair, transfer)
