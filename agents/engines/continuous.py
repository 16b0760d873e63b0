"""A decode engine: continuous batching.

Requests whose KV is in HBM take part in the next step; a step gives each of them a token and takes
TPOT(batch, context).  One timer a step, however many requests there are: what is to happen at
a token is kept by the number of the step at which it comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from agents.cluster import Compute
from agents.compute import tpot
from agents.engines.compute import ComputeClock
from agents.engines.execution import ModelExecution
from agents.records import StepRecord

Moment = asyncio.Future[float]


class Part(NamedTuple):
    """A request's part in the steps of an engine; moments are times of the loop's clock.

    Args:
        started: its first step begins.
        after: steps -> it has taken part in so many, for those that were asked for.
    """

    started: Moment
    after: dict[int, Moment]


class _Joining(NamedTuple):
    part: Part
    context_tokens: int


class DecodeEngine:
    """One decode engine.

    Args:
        name: e.g. "de0g3".
        rail: which engine of its node.
        compute: how long steps take.
        layers: of the model.
        execution: traffic of the model.
        record: takes a record of each step.
    """

    def __init__(
        self,
        name: str,
        rail: int,
        compute: Compute,
        layers: int,
        execution: ModelExecution,
        record: Callable[[StepRecord], None],
    ) -> None:
        self._name, self._rail, self._compute = name, rail, compute
        self._layers, self._execution, self._record = layers, execution, record
        self._clock = ComputeClock()
        self._joining: list[_Joining] = []
        self._changed = asyncio.Event()
        self._step = 0
        self._requests = 0
        self._context_tokens = 0  # of all requests
        self._due: dict[int, list[Moment]] = {}
        self._leaving: dict[int, list[int]] = {}  # step -> context of those that it is the last of

    def join(self, context_tokens: int, steps: Sequence[int]) -> Part:
        """Take part from the next step on.

        Args:
            context_tokens: in HBM.
            steps: after which something is to happen; the request leaves after the last.
        """
        loop = asyncio.get_running_loop()
        part = Part(loop.create_future(), {step: loop.create_future() for step in steps})
        self._joining.append(_Joining(part, context_tokens))
        self._changed.set()
        return part

    async def run(self) -> None:
        """Step as long as there are requests, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            idle = not self._requests
            if idle and not self._joining:
                await self._execution.flush(self._rail)
            if idle and not self._joining:
                self._changed.clear()
                await self._changed.wait()
            self._admit()
            # Steps follow each other without a gap, however late a timer is.
            await self._one(loop.time() if idle else self._clock.free_at_s)

    def _admit(self) -> None:
        now_s = asyncio.get_running_loop().time()
        for part, context_tokens in self._joining:
            self._requests += 1
            self._context_tokens += context_tokens
            part.started.set_result(now_s)
            for step, moment in part.after.items():
                self._due.setdefault(self._step + step, []).append(moment)
            last = max(part.after)
            self._leaving.setdefault(self._step + last, []).append(context_tokens + last)
        self._joining.clear()

    async def _one(self, start_s: float) -> None:
        loop = asyncio.get_running_loop()
        requests, context_tokens = self._requests, self._context_tokens / self._requests
        await self._clock.run(tpot(self._compute, requests, context_tokens), start_s)
        asked_s = loop.time()
        await self._execution.layers(self._rail, requests, self._layers)
        self._clock.free_at_s += loop.time() - asked_s
        self._step += 1
        self._context_tokens += requests
        now_s = loop.time()
        for moment in self._due.pop(self._step, ()):
            if not moment.done():
                moment.set_result(now_s)
        for left in self._leaving.pop(self._step, ()):
            self._requests -= 1
            self._context_tokens -= left
        self._record(StepRecord(self._name, start_s, now_s, requests, context_tokens))


def at_once(steps: Sequence[int]) -> Part:
    """The part of a request whose steps take no time."""
    loop = asyncio.get_running_loop()
    part = Part(loop.create_future(), {step: loop.create_future() for step in steps})
    for moment in (part.started, *part.after.values()):
        moment.set_result(loop.time())
    return part
