"""What a process makes of the loss of others."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from agents import process as module
from agents.cluster import Cluster
from agents.control.mesh import PeerLost
from agents.control.messages import Message, NodeLost
from agents.faults import Step
from agents.process import Process
from tests.unit.agents.clusters import small_cluster


class Quiet(Process):
    """A process that hears nothing but losses."""

    def handle(self, sender: str, message: Message) -> None:
        raise AssertionError(message)


async def fate(cluster: Cluster, *peers: str, declared: str = "") -> BaseException | None:
    """What ends a process that loses these peers, if anything does; one may be declared lost."""
    quiet = Quiet("st0", cluster)
    failure = quiet._failure = asyncio.get_running_loop().create_future()
    try:
        for peer in peers:
            quiet._fail(PeerLost(f"lost {peer}", peer))
        if declared:
            quiet._handle("sched", NodeLost(declared))
            quiet._handle("sched", NodeLost(declared))  # by the next scheduler
            assert quiet.lost == {declared}
        await asyncio.sleep(0)
        await asyncio.sleep(0.01)  # longer than the patience with peers that nobody declares lost
        return failure.exception() if failure.done() else None
    finally:
        quiet.close()
        quiet.records.close()


@pytest.mark.parametrize(
    ("faults", "peer", "declared", "ends"),
    [
        ([], "de0", "", True),
        ([Step(1.0, "kill", "de0")], "de0", "de0", False),
        ([Step(1.0, "kill", "de0")], "de0", "", True),
        ([Step(1.0, "kill", "de0")], "pe0", "de0", True),
        ([Step(1.0, "kill", "de0")], "sched", "", True),
        ([Step(1.0, "kill", "sched"), Step(1.0, "start", "sched")], "sched", "", False),
    ],
)
def test_a_peer_that_goes_is_the_end_unless_it_is_declared_lost_or_comes_back(
    faults: list[Step], peer: str, declared: str, ends: bool,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(module, "_DECLARED_WITHIN_S", 0.0)
    cluster = msgspec.structs.replace(small_cluster(tmp_path), faults=faults)
    error = asyncio.run(fate(cluster, peer, declared=declared))
    assert isinstance(error, PeerLost) is ends


def test_each_incarnation_has_its_own_records(tmp_path: Path) -> None:
    async def scene() -> None:
        cluster = small_cluster(tmp_path)
        for incarnation in (0, 1):
            quiet = Quiet("sched", msgspec.structs.replace(cluster, incarnation=incarnation))
            quiet.close()
            quiet.records.close()

    asyncio.run(scene())
    assert sorted(file.name for file in tmp_path.iterdir()) == ["sched.1.records", "sched.records"]
