"""What the processes of a cluster tell each other.

A message is a msgspec struct; no KV byte ever travels in one.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from agents.blocks.maker import Prefilled, Proof
from agents.faults import Action
from agents.read_path import Segment, Side, Source, path_of
from agents.scheduler.state import GroupReport

Retry: TypeAlias = Literal["", "reread", "elsewhere"]
"""What might help a try of a request that failed: nothing (the reason would come again, or is a
defect); to look its hits up and to read again; or to be served by other engines."""


class Engine(msgspec.Struct, frozen=True):
    """One GPU: engine `rail` of `node`."""

    node: str
    rail: int

    @property
    def domain(self) -> str:
        """The HBM domain of the engine, e.g. "pe0g3"."""
        return f"{self.node}g{self.rail}"


class Message(msgspec.Struct, frozen=True):
    """A control message."""


class Hello(Message, frozen=True, tag="hello"):
    """The first message on a connection: who is calling."""

    name: str


class Submit(Message, frozen=True, tag="submit"):
    """Client to scheduler: one turn of an agent.

    Args:
        request: number of the request, unique in a run.
        prompt_tokens, generate_tokens: tokens of the whole prompt, and to be generated.
        hashes: little-endian uint64 prefix-block hashes of prompt and generation together.
        tokens: the prompt's ids, little-endian uint32, if a transformer makes the KV.
    """

    request: int
    agent: int
    session: str
    turn: int
    prompt_tokens: int
    generate_tokens: int
    hashes: bytes
    t_submit: float
    tokens: bytes = b""


class Lookup(Message, frozen=True, tag="lookup"):
    """Scheduler to storage: how many of these blocks, from the first on, are stored?"""

    request: int
    hashes: bytes


class LookupReply(Message, frozen=True, tag="lookup-reply"):
    """Storage to scheduler: the number of leading blocks that are stored."""

    request: int
    blocks: int


class Assign(Message, frozen=True, tag="assign"):
    """Scheduler to decode node, and from there to the prefill node: who serves a request.

    Args:
        segments: the hit blocks, back to back from block 0; those of the decode side come first.
        hashes: as in `Submit`.
        target_key, target_offset: the DE buffer, once it is allocated.
        tokens: as in `Submit`.
    """

    request: int
    segments: list[Segment]
    prompt_tokens: int
    generate_tokens: int
    hashes: bytes
    prefill: Engine
    decode: Engine
    t_submit: float
    t_scheduled: float
    target_key: int = 0
    target_offset: int = 0
    tokens: bytes = b""

    @property
    def path(self) -> str:
        """The read path, see `agents.read_path.path_of`."""
        return path_of(self.segments)

    def on(self, side: Source) -> list[Segment]:
        """The segments that are read on a side, in order."""
        return [segment for segment in self.segments if segment.side == side]

    def blocks(self, side: Source) -> int:
        """Blocks that are read on a side."""
        return sum(segment.count for segment in self.on(side))

    @property
    def decode_blocks(self) -> int:
        """Hit blocks that the decode node reads, from storage or from a cache."""
        return self.blocks("de") + self.blocks("peer")


class Read(Message, frozen=True, tag="read"):
    """Node to storage: write these Full Blocks into my region, and their digests into another.

    Args:
        part: number of the segment; the writes carry it.
        path: the side that reads; the writes carry it too.
    """

    request: int
    part: int
    path: Side
    hashes: bytes
    key: int
    offset: int
    digest_key: int
    digest_offset: int


class ReadFailed(Message, frozen=True, tag="read-failed"):
    """Storage to node: a read cannot be served, and why; nothing has been written for it.

    Args:
        part: of the `Read`.
    """

    request: int
    reason: str
    part: int = 0


class ReadDone(Message, frozen=True, tag="read-done"):
    """Node to storage: the bytes of a `Read` have arrived, and of all that this node asked before.

    Until then storage keeps the blocks where they are: a socket refers to the pages of the file,
    even at the receiver, until they are read from it.
    """

    request: int
    part: int


class PeerRead(Message, frozen=True, tag="peer-read"):
    """Decode node to decode node: write these Full Blocks of your cache into my region.

    Args:
        part: of the request; the writes carry it.
        rail: of the CNICs to use.
    """

    request: int
    part: int
    hashes: bytes
    key: int
    offset: int
    rail: int


class PeerReadFailed(Message, frozen=True, tag="peer-read-failed"):
    """Decode node to decode node: not all of it is cached here; nothing has been written."""

    request: int
    part: int
    reason: str


class Cached(Message, frozen=True, tag="cached"):
    """Decode node to scheduler: the blocks (as in `Submit`) that came into its cache and went."""

    node: str
    added: bytes
    dropped: bytes


class ReadFinished(Message, frozen=True, tag="read-finished"):
    """Node to scheduler: a storage read has left the node's read queue."""

    node: str
    request: int


class Measured(Message, frozen=True, tag="measured"):
    """Node to scheduler: what its NICs carried since the last of these, and how long they had to.

    Args:
        carried: way of KV (a field of `agents.scheduler.views.Rates`) -> bytes, and seconds in
            which there were some to carry.
    """

    node: str
    carried: dict[str, tuple[int, float]]


class Fetch(Message, frozen=True, tag="fetch"):
    """Leader of a node's engines to scheduler: how they are; give them work."""

    report: GroupReport


class Loaded(Message, frozen=True, tag="loaded"):
    """Decode node to prefill node: the hit blocks are in the DE buffer, ask for them."""

    request: int
    t_read_start: float
    t_read_end: float


class Credit(Message, frozen=True, tag="credit"):
    """Prefill node to decode node: room in HBM for one layer group.

    Args:
        group: whose hit blocks are wanted.
        key, offset: where in HBM.
        miss_blocks: miss blocks that earlier chunks have computed are wanted instead: so many.
        landed: layer groups of earlier chunks that must have come back before.
    """

    request: int
    group: int
    key: int
    offset: int
    miss_blocks: int = 0
    landed: int = 0


class PrefillDone(Message, frozen=True, tag="prefill-done"):
    """Prefill node to decode node: all layers are computed; the first token is out."""

    request: int
    t_read_start: float
    t_read_end: float
    t_prefill_start: float
    t_prefill_end: float
    stalls_s: list[float]
    verified_bytes: int
    read_bytes: int
    made: Prefilled = Prefilled()
    reloaded_bytes: int = 0


class PutBegin(Message, frozen=True, tag="put-begin"):
    """Node to storage: I want to store these blocks; where shall I write them?

    Args:
        hashes: of neighbouring blocks of one prefix.
        parent: hash of the block before them, None at the start of a prefix.
    """

    put: int
    request: int
    hashes: bytes
    parent: int | None = None


class PutReply(Message, frozen=True, tag="put-reply"):
    """Storage to node: where the blocks of a put go, or why not.

    Args:
        places: (offset in the region, blocks) of each transfer, in the order of the blocks.
    """

    put: int
    key: int
    places: list[tuple[int, int]]
    error: str = ""


class PutDone(Message, frozen=True, tag="put-done"):
    """Storage to node: the blocks of a put are in the index."""

    put: int
    error: str = ""


class LayDown(Message, frozen=True, tag="lay-down"):
    """Client to storage: make these blocks exist (warm start); nothing crosses a shaped link.

    `hashes`, `parent` and `request` are as in `PutBegin`; a warm start's have no request.
    """

    number: int
    hashes: bytes
    parent: int | None = None
    request: int = 0


class LaidDown(Message, frozen=True, tag="laid-down"):
    """Storage to client: the blocks exist, or why not.

    Args:
        evicted: blocks that had to go for them.
    """

    number: int
    blocks: int
    evicted: int = 0
    error: str = ""


class Done(Message, frozen=True, tag="done"):
    """Decode node to scheduler: a try of a request has ended.  Scheduler to client: the request.

    Args:
        request: of the try (`agents.numbers`); to the client, of the request.
        error: empty if it is well.
        retry: what might help a try that failed, see `agents.scheduler.attempts`.
        failed_side: the side that could not read, if that is why it failed.
        attempts: to the client: tries that engines were given.
        served_as: to the client: number of the try that this is of.
    """

    request: int
    error: str = ""
    path: str = ""
    prefill: str = ""
    decode: str = ""
    hit_tokens: int = 0
    t_scheduled: float = 0.0
    t_allocated: float = 0.0
    t_read_start: float = 0.0
    t_read_end: float = 0.0
    t_prefill_start: float = 0.0
    t_first_token: float = 0.0
    t_decode_start: float = 0.0
    t_second_token: float = 0.0
    t_decode_end: float = 0.0
    t_done: float = 0.0
    stalls_s: list[float] = []
    read_bytes: int = 0
    written_bytes: int = 0
    verified_bytes: int = 0
    proof: Proof = Proof()
    reloaded_bytes: int = 0
    retry: Retry = ""
    failed_side: Side | None = None
    attempts: int = 0
    served_as: int = 0


class Inboxes(Message, frozen=True, tag="inboxes"):
    """Node to node of its role: the regions that take what model execution sends, by rail."""

    keys: list[int]


class NodeLost(Message, frozen=True, tag="node-lost"):
    """Scheduler to everybody: this node has gone, for good.  Its connections are to be closed."""

    node: str


class Serving(Message, frozen=True, tag="serving"):
    """Node to a scheduler that has come back: what it has to know to go on.

    Args:
        jobs: of a decode node: what it serves, as it was assigned.
        lost: nodes that were declared lost.
    """

    node: str
    jobs: list[Assign]
    lost: list[str]


class Ping(Message, frozen=True, tag="ping"):
    """Scheduler to a node that does not report by itself: say something."""


class Pong(Message, frozen=True, tag="pong"):
    """A node to the scheduler: it is there."""


class Provoke(Message, frozen=True, tag="provoke"):
    """Client to storage: a fault of the scenario, see `agents.faults`."""

    action: Action
    share: float = 1.0


class RequestFailed(Message, frozen=True, tag="request-failed"):
    """Prefill node to decode node, or back: give this request up, and why.

    Args:
        groups: layer groups that the sender has written, or is going to write, into the other's
            memory in all; when they have landed, that memory is quiet.
        chunk_groups: of the prefill node, those of all chunks but the last, counted apart.
        retry, failed_side: of the prefill node, as in `Done`.
    """

    request: int
    reason: str
    groups: int = 0
    chunk_groups: int = 0
    retry: Retry = ""
    failed_side: Side | None = None


AnyMessage = (
    Hello
    | Submit
    | Lookup
    | LookupReply
    | Assign
    | Read
    | ReadFailed
    | ReadDone
    | PeerRead
    | PeerReadFailed
    | Cached
    | ReadFinished
    | Measured
    | Fetch
    | Loaded
    | Credit
    | PrefillDone
    | PutBegin
    | PutReply
    | PutDone
    | LayDown
    | LaidDown
    | Done
    | Inboxes
    | NodeLost
    | Ping
    | Pong
    | Provoke
    | RequestFailed
    | Serving
)

_decoder = msgspec.msgpack.Decoder(AnyMessage)
_encoder = msgspec.msgpack.Encoder()


def encode(message: Message) -> bytes:
    """A message as MessagePack."""
    return _encoder.encode(message)


def decode(data: bytes | bytearray) -> Message:
    """What `encode` made.

    Raises:
        msgspec.DecodeError: it is no message.
    """
    message: Message = _decoder.decode(data)
    return message
