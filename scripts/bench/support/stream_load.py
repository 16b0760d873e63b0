"""The agents' KV transport as a load: a sink, and a source that keeps its queue pairs busy.

    python -m scripts.bench.support.stream_load sink --bind 10.64.0.2
    python -m scripts.bench.support.stream_load source --to 10.64.0.2 --bind 10.64.0.1 --key KEY

The sink prints the key of its region, which the source needs.  Both run until they are ended.
"""

from __future__ import annotations

import argparse
import asyncio
import mmap
import socket

from agents.wire.pair import StreamPair, set_lane
from agents.wire.stream import StreamTransport
from agents.wire.transport import Completion, Failed, Sent, WriteRequest

PORT = 7100
REGION_BYTES = 32 << 20  # more than caches hold
_POSTED = 4  # writes of a queue pair under way


def _fail(batch: list[Completion]) -> None:
    for completion in batch:
        if isinstance(completion, Failed):
            raise SystemExit(f"{completion.peer}: {completion.reason}")


async def sink(bind: str) -> None:
    """Let writes land."""
    transport = StreamTransport(asyncio.get_running_loop())
    transport.on_completions(_fail)
    key = transport.register(memoryview(mmap.mmap(-1, REGION_BYTES)))
    server = socket.create_server((bind, PORT))
    transport.listen(server, lambda _name, _pair: None)
    print(key, flush=True)
    await asyncio.Event().wait()


async def source(to: str, bind: str, key: int, pairs: int, write_bytes: int) -> None:
    """Post a write whenever one has left."""
    transport = StreamTransport(asyncio.get_running_loop())
    memory = memoryview(mmap.mmap(-1, REGION_BYTES))
    memory[:] = bytes(range(256)) * (REGION_BYTES // 256)
    opened: dict[str, StreamPair] = {}
    positions: dict[str, int] = {}

    def post(name: str) -> None:
        at = positions.get(name, 0)
        positions[name] = (at + write_bytes) % (REGION_BYTES - write_bytes)
        piece = memory[at : at + write_bytes]
        opened[name].post([WriteRequest([piece], key, at, write_bytes, 0, 0)])

    def again(batch: list[Completion]) -> None:
        _fail(batch)
        for completion in batch:
            if isinstance(completion, Sent):
                post(completion.peer)

    transport.on_completions(again)
    for number in range(pairs):
        made = socket.socket()
        set_lane(made, "kv")
        made.bind((bind, 0))
        made.connect((to, PORT))
        opened[f"pair{number}"] = transport.adopt(made, f"pair{number}")
    for name in opened:
        for _ in range(_POSTED):
            post(name)
    await asyncio.Event().wait()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.support.stream_load")
    verbs = parser.add_subparsers(dest="verb", required=True)
    sinks = verbs.add_parser("sink")
    sinks.add_argument("--bind", required=True)
    sources = verbs.add_parser("source")
    sources.add_argument("--to", required=True)
    sources.add_argument("--bind", required=True)
    sources.add_argument("--key", type=int, required=True)
    sources.add_argument("--pairs", type=int, default=1)
    sources.add_argument("--write-bytes", type=int, default=256 * 1024)
    told = parser.parse_args()
    if told.verb == "sink":
        asyncio.run(sink(told.bind))
    else:
        asyncio.run(source(told.to, told.bind, told.key, told.pairs, told.write_bytes))


if __name__ == "__main__":
    main()
