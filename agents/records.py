"""The typed records of a run, and the file that a process appends them to.

Times are time.monotonic() seconds, one clock for all processes of the machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

_FLUSH_RECORDS = 256


class TransferRecord(msgspec.Struct, frozen=True, gc=False, tag="transfer"):
    """One one-sided write, recorded where it landed.

    Args:
        request: number of the try, or of the put, that it belongs to (`agents.numbers`).
        kind: what it was for: see `agents.wire.immediates.Kind`.
        source, target: memory domains.
        layer_first, layer_count: layers in it; `layer_count` 0 means Full Blocks (all layers).
        t_first_byte, t_last_byte: arrival of the first and the last byte.
        t_posted: when its sender posted it.
        port: the port that the queue pair called, and with ":" its lane, if that is not kv; empty
            for a copy within DRAM.
    """

    request: int
    kind: str
    path: str
    source: str
    target: str
    layer_first: int
    layer_count: int
    size_bytes: int
    t_first_byte: float
    t_last_byte: float
    t_posted: float = 0.0
    port: str = ""


class RoundTripRecord(msgspec.Struct, frozen=True, gc=False, tag="round-trip"):
    """Round trip of one busy connection, as the kernel sees it at one end.

    Args:
        source, target: memory domains, seen from this end.
        port: as in `TransferRecord`.
        smoothed_s: under the present load (RFC 6298).
        least_s: the shortest since the connection was made.
    """

    t_s: float
    source: str
    target: str
    port: str
    smoothed_s: float
    least_s: float


class EventRecord(msgspec.Struct, frozen=True, tag="event"):
    """Something that should not pass unseen: a wrong byte, a failed read, a full storage.

    Args:
        request: its number; where engines or storage say it, of the try (`agents.numbers`).
    """

    process: str
    t_s: float
    kind: str
    request: int
    detail: str


class RequestRecord(msgspec.Struct, frozen=True, tag="request"):
    """One turn of an agent, from its submission to its release.

    Args:
        attempts: tries of it that engines were given; all but `t_submit`, which is the turn's own,
            is of the last one.
        served_as: number of that try: the `request` of its transfers (`agents.numbers`).
    """

    request: int
    agent: int
    session: str
    turn: int
    attempts: int
    served_as: int
    path: str
    prefill: str
    decode: str
    prompt_tokens: int
    hit_tokens: int
    generate_tokens: int
    t_submit: float
    t_scheduled: float
    t_allocated: float
    t_read_start: float
    t_read_end: float
    t_prefill_start: float
    t_first_token: float
    t_decode_start: float
    t_second_token: float
    t_decode_end: float
    t_done: float
    stall_s: float
    stalls_s: list[float]
    read_bytes: int
    written_bytes: int
    verified_bytes: int
    error: str
    reloaded_bytes: int = 0


class PredictionRecord(msgspec.Struct, frozen=True, gc=False, tag="prediction"):
    """What the cost model said of a request when its path was chosen, and what happened.

    See `agents.scheduler.costs`; all times are from the decision.

    Args:
        path: that was chosen.
        pe_s, de_s: predicted until all hit KV is in HBM, by the path.
        peer_s: the same from a cache; None where no cache had any of it.
        chosen_s: the same by the path that was chosen.
        chosen_read_s: predicted by that path until all hit KV is in DRAM.
        read_s: measured until then.
        first_token_s: measured until the first token: with compute, and waiting for the engine.
    """

    request: int
    path: str
    pe_s: float
    de_s: float
    peer_s: float | None
    chosen_s: float
    chosen_read_s: float
    read_s: float
    first_token_s: float


class SessionRecord(msgspec.Struct, frozen=True, tag="session"):
    """An agent's trajectory that came to its end; `from_first_turn` if it was seen whole."""

    agent: int
    session: str
    t_start: float
    t_end: float
    turns: int
    from_first_turn: bool


class AccountRecord(msgspec.Struct, frozen=True, tag="account"):
    """What one end of a queue pair sent and received, in bytes, its own headers included.

    Args:
        pair: name of the end, see `agents.wire.pair_names.pair_name`.
    """

    pair: str
    sent_bytes: int
    received_bytes: int


class CollectiveRecord(msgspec.Struct, frozen=True, gc=False, tag="collective"):
    """One collective of model execution, recorded by the engine that began it.

    Args:
        kind: "all-to-all" (dispatch and combine) or "all-reduce".
        number: of the operation: the `request` of its transfers; of the last, if it took several.
        engine: the HBM domain whose tokens they are; `engines` may host experts of theirs.
        layers: of the model that are fused in it; `tokens` of each, in the mean.
        size_bytes: sent and received by the engine; in an all-reduce by all of the ring.
        t_dispatched: when the last tokens had reached their experts.
        t_end: when the last result was back.
    """

    kind: str
    number: int
    engine: str
    engines: int
    layers: float
    tokens: float
    size_bytes: int
    t_start: float
    t_dispatched: float
    t_end: float


class ProcessRecord(msgspec.Struct, frozen=True, tag="process"):
    """One process at its end: its cost, its loop's lag, the peak use of its arenas.

    Args:
        copied_bytes: by the process itself, in its memory, counted where they are copied:
            "gathered" (Full Blocks -> Layer Blocks) and "scattered" (the other way); "cached" (into
            a decode node's cache) and "from cache".
        timers: that its event loop was asked for.
        load_cpu_s: of `cpu_s`, since it was told to start.
    """

    process: str
    cpu_s: float
    loop_lag_p99_s: float
    messages_sent: int
    peak_bytes: dict[str, int]
    laid_down_bytes: int = 0
    copied_bytes: dict[str, int] = {}
    timers: int = 0
    load_cpu_s: float = 0.0


class LoopLagRecord(msgspec.Struct, frozen=True, tag="loop-lag"):
    """How late a process's event loop was, by a timer of its own.

    Args:
        t_s: when the timer was due.
    """

    process: str
    t_s: float
    lag_s: float


class StorageRecord(msgspec.Struct, frozen=True, tag="storage"):
    """The blocks of one storage node over a whole run, in bytes.

    Args:
        capacity_bytes: what it can hold.
        stored_bytes: what it held at the end.
        touched_bytes: of different blocks that requests looked for or wrote: the working set.
        evicted_bytes: what was evicted, every time that it was.
        sent_bytes: KV that it was asked to send, to nodes that were not lost; under_way_bytes of it
            had nobody confirmed yet.
        refused_puts, refused_bytes: puts for which there was no room, and what would have come.
    """

    process: str
    capacity_bytes: int
    stored_bytes: int
    touched_bytes: int
    evicted_bytes: int
    sent_bytes: int = 0
    under_way_bytes: int = 0
    refused_puts: int = 0
    refused_bytes: int = 0


class IterationRecord(msgspec.Struct, frozen=True, gc=False, tag="iteration"):
    """One iteration of one prefill engine.

    Args:
        engine: its HBM domain.
        iteration: number of the node's iteration; ranks that iterate together share it.
        t_start, t_end: t_end - t_start is what follows, and the time of model execution's traffic.
        requests, tokens: of the batch; a request that was cut counts.
        attention_s, ffn_s: computing.
        stall_s: waiting for KV on its way into HBM.
        wait_s: waiting for other engines of the node, before FFN and at the end.
        starved_s: before it, idle because the KV of all its requests was still being read.
    """

    engine: str
    iteration: int
    t_start: float
    t_end: float
    requests: int
    tokens: int
    attention_s: float
    ffn_s: float
    stall_s: float
    wait_s: float
    starved_s: float


class StepRecord(msgspec.Struct, frozen=True, gc=False, tag="step"):
    """One step of one decode engine: a token for each of `requests`.

    Args:
        engine: its HBM domain.
        context_tokens: of each request, on average.
    """

    engine: str
    t_start: float
    t_end: float
    requests: int
    context_tokens: float


class CacheRecord(msgspec.Struct, frozen=True, tag="cache"):
    """The cache of one decode node over a whole run, in bytes.

    Args:
        held_bytes: what it held at the end.
        kept_bytes: what was copied into it.
        evicted_bytes: what was evicted, every time that it was.
        missed: reads of this node that found blocks evicted, and went to storage after all.
    """

    process: str
    capacity_bytes: int
    held_bytes: int
    kept_bytes: int
    evicted_bytes: int
    missed: int


AnyRecord = (
    TransferRecord
    | RoundTripRecord
    | LoopLagRecord
    | EventRecord
    | RequestRecord
    | PredictionRecord
    | SessionRecord
    | AccountRecord
    | CollectiveRecord
    | ProcessRecord
    | StorageRecord
    | IterationRecord
    | StepRecord
    | CacheRecord
)


class RecordLog:
    """Appends records to a file, a batch at a time.

    Args:
        path: the file; MessagePack values behind 32-bit lengths.
    """

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("wb")
        self._encoder = msgspec.msgpack.Encoder()
        self._pending: list[AnyRecord] = []

    def append(self, record: AnyRecord) -> None:
        """Keep a record; it is on disk after the next flush."""
        self._pending.append(record)
        if len(self._pending) >= _FLUSH_RECORDS:
            self.flush()

    def flush(self) -> None:
        """Write what is pending."""
        out = bytearray()
        for record in self._pending:
            body = self._encoder.encode(record)
            out += len(body).to_bytes(4, "little")
            out += body
        self._pending.clear()
        self._file.write(out)
        self._file.flush()

    def close(self) -> None:
        """Flush and close."""
        self.flush()
        self._file.close()


def read_records(path: Path) -> Iterator[AnyRecord]:
    """The records of one file, in order; a record cut off by a crash ends it."""
    decoder = msgspec.msgpack.Decoder(AnyRecord)
    data = memoryview(path.read_bytes())
    at = 0
    while at + 4 <= len(data):
        length = int.from_bytes(data[at : at + 4], "little")
        if at + 4 + length > len(data):
            return
        yield decoder.decode(data[at + 4 : at + 4 + length])
        at += 4 + length
