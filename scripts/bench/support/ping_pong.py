"""Round trips of small messages, timed one by one.

    python -m scripts.bench.support.ping_pong server --bind 10.64.1.2 --tos 0xb8
    python -m scripts.bench.support.ping_pong client --to 10.64.1.2 --bind 10.64.0.2 --tos 0xb8

The client prints the round-trip times as JSON, in seconds.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import time

PORT = 7300
MESSAGE_BYTES = 4096


def _exactly(connection: socket.socket, size_bytes: int) -> bool:
    """Receive a message; False at the end of the stream."""
    left = size_bytes
    while left:
        got = len(connection.recv(left))
        if not got:
            return False
        left -= got
    return True


def _prepare(made: socket.socket, tos: int) -> None:
    made.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def serve(bind: str, tos: int, size_bytes: int = MESSAGE_BYTES) -> None:
    """Send every message of one connection back."""
    with socket.create_server((bind, PORT)) as server:
        print("listening", flush=True)
        connection, _ = server.accept()
    _prepare(connection, tos)
    while _exactly(connection, size_bytes):
        connection.sendall(bytes(size_bytes))


def play(
    to: str, bind: str, tos: int, seconds: float, size_bytes: int = MESSAGE_BYTES
) -> list[float]:
    """Round trips, one after the other, for a while."""
    times = []
    with socket.socket() as made:
        _prepare(made, tos)
        made.bind((bind, 0))
        made.connect((to, PORT))
        until_s = time.monotonic() + seconds
        while (began_s := time.monotonic()) < until_s:
            made.sendall(bytes(size_bytes))
            if not _exactly(made, size_bytes):
                raise SystemExit("the server has gone")
            times.append(time.monotonic() - began_s)
    return times


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.support.ping_pong")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("server", "client"):
        each = verbs.add_parser(verb)
        each.add_argument("--bind", required=True)
        each.add_argument("--tos", type=lambda text: int(text, 0), required=True)
        each.add_argument("--bytes", type=int, default=MESSAGE_BYTES)
        if verb == "client":
            each.add_argument("--to", required=True)
            each.add_argument("--seconds", type=float, default=5.0)
    told = parser.parse_args()
    if told.verb == "server":
        serve(told.bind, told.tos, told.bytes)
    else:
        json.dump(play(told.to, told.bind, told.tos, told.seconds, told.bytes), sys.stdout)


if __name__ == "__main__":
    main()
