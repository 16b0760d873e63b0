"""The client as its peers see it: storage is warmed up, turns are served when the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from agents.client import process
from agents.client.process import Client
from agents.cluster import Load
from agents.control.messages import Done, LaidDown, LayDown, Message, Submit
from agents.records import AnyRecord, EventRecord, RequestRecord
from agents.traces.load import TraceSpec
from testbed.errors import ProgramError
from tests.unit.agents.clusters import small_cluster

AGENTS = 3
LOAD = Load(TraceSpec("agentic", 1, "32k"), AGENTS, "warm", 0.0, 0.0, window_s=0.05)


class Servers:
    """Everybody else: storage takes what it is given; `waiting` holds turns until `serve`."""

    def __init__(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        self.client = client
        self.laid_down: list[LayDown] = []
        self.waiting: list[Submit] = []
        self.said: list[dict[str, Any]] = []
        self.recorded: list[AnyRecord] = []
        self.refusal = ""
        monkeypatch.setattr(process, "_REPORT_PERIOD_S", 0.001)
        monkeypatch.setattr(process, "say", lambda **fields: self.said.append(fields))
        monkeypatch.setattr(client.mesh, "send", self._hear)
        monkeypatch.setattr(client.records, "append", self.recorded.append)

    def _hear(self, peer: str, message: Message) -> None:
        if isinstance(message, LayDown):
            self.laid_down.append(message)
            reply = LaidDown(message.number, len(message.hashes) // 8, error=self.refusal)
            asyncio.get_running_loop().call_soon(self.client.handle, peer, reply)
        elif isinstance(message, Submit):
            self.waiting.append(message)

    def serve(self, turns: int) -> None:
        """The first turns that wait have ended well."""
        for _ in range(turns):
            done = Done(self.waiting.pop(0).request, attempts=1)
            self.client.handle("sched", done)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.001)

    @property
    def phases(self) -> list[str]:
        """Those that were reported, each once."""
        return list(dict.fromkeys(s["phase"] for s in self.said if s["event"] == "progress"))

    @property
    def finished(self) -> dict[str, Any] | None:
        return next((said for said in self.said if said["event"] == "finished"), None)

    async def reports(self, count: int = 5) -> None:
        """So many more have come: whatever the client does by itself it has done."""
        before = len(self.said)
        await self.until(lambda: len(self.said) >= before + count)


def with_client(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    work: Callable[[Servers], Awaitable[None]],
    **changes: Any,
) -> None:
    """A client of three agents, without a network; its run has begun."""
    cluster = msgspec.structs.replace(small_cluster(tmp_path), load=LOAD, **changes)

    async def live() -> None:
        client = Client("client", cluster)
        servers = Servers(client, monkeypatch)
        client._failure = asyncio.get_running_loop().create_future()
        try:
            await client.connect()
            client.started.set()
            await work(servers)
        finally:
            for task in list(client._tasks):
                task.cancel()
            await asyncio.sleep(0)
            client.records.close()

    asyncio.run(live())


def test_nothing_is_submitted_before_every_prefix_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(servers: Servers) -> None:
        await servers.until(lambda: len(servers.waiting) == AGENTS)
        stored = {n for m in servers.laid_down for n in np.frombuffer(m.hashes, "<u8").tolist()}
        for submit in servers.waiting:  # what the turns before it have left, to the last block
            names = np.frombuffer(submit.hashes, "<u8")
            held = [int(name) in stored for name in names]
            assert held == sorted(held, reverse=True)
        assert any(submit.turn for submit in servers.waiting) and stored
        for before, after in zip(servers.laid_down, servers.laid_down[1:], strict=False):
            if after.parent is not None:
                assert after.parent == np.frombuffer(before.hashes, "<u8")[-1]

    with_client(tmp_path, monkeypatch, work)


def test_storage_that_takes_no_prefix_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(servers: Servers) -> None:
        servers.refusal = "no room"
        assert servers.client._failure is not None
        with pytest.raises(ProgramError, match="st0 could not be warmed up: no room"):
            await asyncio.wait_for(servers.client._failure, 10)
        assert servers.waiting == []

    with_client(tmp_path, monkeypatch, work)


def test_the_window_opens_after_as_many_turns_as_there_are_agents_and_then_drains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(servers: Servers) -> None:
        await servers.until(lambda: len(servers.waiting) == AGENTS)
        servers.serve(AGENTS - 1)
        await servers.reports()
        assert servers.phases == ["warm-up"]
        servers.serve(1)
        await servers.until(lambda: "measure" in servers.phases)
        await servers.until(lambda: "drain" in servers.phases)
        under_way = len(servers.waiting)
        assert 0 < under_way <= AGENTS
        await servers.reports()
        assert servers.finished is None  # the last turns are waited for
        servers.serve(under_way)
        await servers.until(lambda: servers.finished is not None)
        assert servers.waiting == []  # and no other is begun
        told = servers.finished
        assert told is not None
        assert told["began_s"] < told["open_s"] <= told["close_s"] - LOAD.window_s
        assert (told["done"], told["failed"]) == (AGENTS + under_way, 0)
        assert sum(isinstance(each, RequestRecord) for each in servers.recorded) == told["done"]

    with_client(tmp_path, monkeypatch, work)


def test_an_answer_that_comes_twice_is_recorded_and_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(servers: Servers) -> None:
        await servers.until(lambda: len(servers.waiting) == AGENTS)
        first = servers.waiting[0].request
        servers.serve(1)
        servers.client.handle("sched", Done(first))
        await servers.reports()
        assert servers.said[-1]["done"] == 1
        assert [e.kind for e in servers.recorded if isinstance(e, EventRecord)] == ["done-twice"]

    with_client(tmp_path, monkeypatch, work)


def test_another_scheduler_is_asked_again_for_what_is_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(servers: Servers) -> None:
        await servers.until(lambda: len(servers.waiting) == AGENTS)
        servers.serve(1)
        await servers.until(lambda: len(servers.waiting) == AGENTS)
        before = sorted(servers.waiting, key=lambda each: each.request)
        servers.waiting.clear()
        servers.client.back("sched")
        assert sorted(servers.waiting, key=lambda each: each.request) == before

    with_client(tmp_path, monkeypatch, work)
