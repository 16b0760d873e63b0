"""Two processes that ask and answer over the control mesh, and say what that took of their CPU.

    python -m agents.costing.chatter --name a --peers a=10.0.0.1 b=10.0.0.2 --questions 1000

The first name asks; each question is a lookup of a mean prompt's blocks, one at a time.  Then both
sleep as often, by timers.  Either prints `ready`, and in the end one JSON object:
{"program_s", "operation_s", "timer_s", "private_bytes"}: CPU seconds until it
was ready, a message and a timer; memory of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time

from agents.control.mesh import Mesh
from agents.control.messages import Lookup, LookupReply, Message
from agents.control.replies import Replies
from agents.costing.loading import private_bytes

_BLOCKS = bytes(8 * 512)  # the hashes of a prompt of 32 768 tokens
_TIMER_PERIOD_S = 0.5e-3


class Chatter:
    """One of the two.

    Args:
        name: its own; the first of `peers` asks.
        peers: both names and their addresses.
        questions: how many.
    """

    def __init__(self, name: str, peers: dict[str, str], questions: int) -> None:
        self._other = next(peer for peer in peers if peer != name)
        self._asks = name == min(peers)
        self._questions = questions
        self._answered = asyncio.Event()
        self._replies = Replies()
        self._mesh = Mesh(name, peers, self._handle, self._lost)

    async def run(self) -> None:
        """Connect, talk, sleep, print."""
        await self._mesh.connect()
        print("ready", flush=True)
        began_s = time.process_time()
        if self._asks:
            for number in range(self._questions):
                reply = self._replies.expect("lookup", number)
                self._mesh.send(self._other, Lookup(number, _BLOCKS))
                await reply
        else:
            await self._answered.wait()
        talked_s = time.process_time()
        for _ in range(self._questions):
            await asyncio.sleep(_TIMER_PERIOD_S)
        slept_s = time.process_time()
        costs = {
            "program_s": began_s,
            "operation_s": (talked_s - began_s) / self._questions,
            "timer_s": (slept_s - talked_s) / self._questions,
            "private_bytes": private_bytes(),
        }
        print(json.dumps(costs), flush=True)
        await asyncio.Event().wait()  # the other would take the end of the connection for a loss

    def _handle(self, sender: str, message: Message) -> None:
        match message:
            case Lookup():
                self._mesh.send(sender, LookupReply(message.request, 1))
                if message.request == self._questions - 1:
                    self._answered.set()
            case LookupReply():
                self._replies.resolve("lookup", message.request, message)

    def _lost(self, error: Exception) -> None:
        raise SystemExit(str(error))


def _peer(text: str) -> tuple[str, str]:
    name, _, address = text.partition("=")
    return name, address


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m agents.costing.chatter")
    parser.add_argument("--name", required=True)
    parser.add_argument("--peers", type=_peer, nargs=2, required=True, metavar="NAME=ADDRESS")
    parser.add_argument("--questions", type=int, default=2000)
    told = parser.parse_args()
    peers = dict(told.peers)

    async def live() -> None:
        await Chatter(told.name, peers, told.questions).run()

    asyncio.run(live())


if __name__ == "__main__":
    main()
