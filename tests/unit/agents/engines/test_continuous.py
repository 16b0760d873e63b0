"""Continuous batching in virtual time: one token a step for whoever is there."""

from __future__ import annotations

import asyncio

import pytest

from agents.cluster import Compute
from agents.engines import continuous
from agents.engines.continuous import DecodeEngine, Part
from agents.engines.execution import ModelExecution, NoTraffic
from agents.records import StepRecord
from tests.unit.agents.engines import virtual

COMPUTE = Compute(0.0, 0.0, [(0.0, 0.0)], tpot_s=0.0)


@pytest.fixture(autouse=True)
def _steps_grow_with_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step takes 1 s for each request in it."""
    monkeypatch.setattr(continuous, "tpot", lambda compute, requests, context: 1.0 * requests)


def engine(steps: list[StepRecord], execution: ModelExecution | None = None) -> DecodeEngine:
    made = DecodeEngine("de0g0", 0, COMPUTE, 8, execution or NoTraffic(), steps.append)
    asyncio.get_running_loop().create_task(made.run())
    return made


async def times(part: Part) -> tuple[float, dict[int, float]]:
    return await part.started, {step: await moment for step, moment in part.after.items()}


def test_who_comes_takes_part_from_the_next_step_on() -> None:
    steps: list[StepRecord] = []

    async def scene() -> None:
        decoding = engine(steps)
        first = decoding.join(100, [1, 4])
        await asyncio.sleep(1.5)  # in the middle of the second step
        second = decoding.join(300, [1, 2])
        # Steps: 1 s, 1 s, then two requests: 2 s, 2 s.
        assert await times(first) == (0.0, {1: 1.0, 4: 6.0})
        assert await times(second) == (2.0, {1: 4.0, 2: 6.0})

    virtual.run(scene())
    assert [step.requests for step in steps] == [1, 1, 2, 2]
    assert [step.context_tokens for step in steps] == [100, 101, (102 + 300) / 2, (103 + 301) / 2]
    assert [step.t_end - step.t_start for step in steps] == [1, 1, 2, 2]


def test_an_idle_engine_begins_when_somebody_comes() -> None:
    async def scene() -> None:
        decoding = engine([])
        await times(decoding.join(1, [1]))
        await asyncio.sleep(9.0)
        assert await times(decoding.join(1, [1])) == (10.0, {1: 11.0})

    virtual.run(scene())


def test_traffic_of_the_model_takes_its_time_in_every_step() -> None:
    class Slow:
        async def layers(self, rank: int, tokens: int, layers: int) -> None:
            assert (rank, tokens, layers) == (0, 1, 8)
            await asyncio.sleep(0.5)

        async def flush(self, rank: int) -> None:
            rested.append(asyncio.get_running_loop().time())

    rested: list[float] = []

    async def scene() -> None:
        assert await times(engine([], Slow()).join(1, [1, 3])) == (0.0, {1: 1.5, 3: 4.5})
        await asyncio.sleep(1)

    virtual.run(scene())
    assert rested == [4.5]  # not between steps


def test_steps_without_time_are_over_at_once() -> None:
    async def scene() -> None:
        assert await times(continuous.at_once([1, 5])) == (0.0, {1: 0.0, 5: 0.0})

    virtual.run(scene())
