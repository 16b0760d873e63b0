"""The agents' KV transport as a load: a sink, and a source that keeps its queue pairs busy.

    python -m agents.costing.stream_load sink --bind 10.64.0.2
    python -m agents.costing.stream_load source --bind 10.64.0.1 --to 10.64.0.2=KEY

The sink prints the key of its region, which the source needs.  Both run until they are ended, and
answer every line on standard input with the CPU seconds that they have taken.
"""

from __future__ import annotations

import argparse
import asyncio
import mmap
import os
import socket
import sys
import time

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


def _tell_cpu() -> None:
    """Answer lines on standard input from now on."""
    loop = asyncio.get_running_loop()

    def answer() -> None:
        if os.read(sys.stdin.fileno(), 4096):
            print(time.process_time(), flush=True)
        else:
            loop.remove_reader(sys.stdin)

    loop.add_reader(sys.stdin, answer)


async def sink(bind: str) -> None:
    """Let writes land."""
    transport = StreamTransport(asyncio.get_running_loop())
    transport.on_completions(_fail)
    key = transport.register(memoryview(mmap.mmap(-1, REGION_BYTES)))
    server = socket.create_server((bind, PORT))
    transport.listen(server, lambda _name, _pair: None)
    print(key, flush=True)
    _tell_cpu()
    await asyncio.Event().wait()


async def source(targets: list[tuple[str, int]], bind: str, pairs: int, write_bytes: int) -> None:
    """Post a write whenever one has left.

    Args:
        targets: address of each sink and the key of its region.
        bind: address of this end.
        pairs: queue pairs to each.
        write_bytes: of one write.
    """
    transport = StreamTransport(asyncio.get_running_loop())
    memory = memoryview(mmap.mmap(-1, REGION_BYTES))
    memory[:] = bytes(range(256)) * (REGION_BYTES // 256)
    opened: dict[str, tuple[StreamPair, int]] = {}
    positions: dict[str, int] = {}

    def post(name: str) -> None:
        at = positions.get(name, 0)
        positions[name] = (at + write_bytes) % (REGION_BYTES - write_bytes)
        pair, key = opened[name]
        pair.post([WriteRequest([memory[at : at + write_bytes]], key, at, write_bytes, 0, 0)])

    def again(batch: list[Completion]) -> None:
        _fail(batch)
        for completion in batch:
            if isinstance(completion, Sent):
                post(completion.peer)

    transport.on_completions(again)
    for address, key in targets:
        for number in range(pairs):
            made = socket.socket()
            set_lane(made, "kv")
            made.bind((bind, 0))
            made.connect((address, PORT))
            name = f"{address} {number}"
            opened[name] = (transport.adopt(made, name), key)
    for name in opened:
        for _ in range(_POSTED):
            post(name)
    _tell_cpu()
    await asyncio.Event().wait()


def _target(text: str) -> tuple[str, int]:
    address, _, key = text.partition("=")
    return address, int(key)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m agents.costing.stream_load")
    verbs = parser.add_subparsers(dest="verb", required=True)
    sinks = verbs.add_parser("sink")
    sinks.add_argument("--bind", required=True)
    sources = verbs.add_parser("source")
    sources.add_argument("--to", type=_target, nargs="+", required=True, metavar="ADDRESS=KEY")
    sources.add_argument("--bind", required=True)
    sources.add_argument("--pairs", type=int, default=1)
    sources.add_argument("--write-bytes", type=int, default=256 * 1024)
    told = parser.parse_args()
    if told.verb == "sink":
        asyncio.run(sink(told.bind))
    else:
        asyncio.run(source(told.to, told.bind, told.pairs, told.write_bytes))


if __name__ == "__main__":
    main()
