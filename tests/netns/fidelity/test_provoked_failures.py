"""Each failure that the verdict is to notice, made for real while a stream is measured.

h1 -- s1 -- h2, 50 Mbit
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.experiment import runner
from testbed.experiment.runner import Progress
from testbed.experiment.scenario import Scenario, TopologyChoice
from testbed.fidelity.checks import Check
from tests.netns.fidelity.streams import ManagementStream, Streams

# What a busy machine can fail without any mischief.
NOISY = {
    "counters read throughout", "machine CPU", "no packet lost by the machine", "not throttled",
    "timer lag",
}  # fmt: skip


def judged(
    mischief: str,
    directory: Path,
    workload: type[Streams] = Streams,
    report: Callable[[Progress], None] = lambda progress: None,
) -> tuple[str, dict[str, Check], list[str]]:
    """Status, failed checks by name, and the reasons of a run with some mischief."""
    scenario = Scenario(
        name="provoked", topology=TopologyChoice(name="star"), duration=1.0, calibration=False
    )
    ran = runner.run(scenario, workload(mischief), directory, report)
    failed = {check.name: check for check in ran.verdict.checks if not check.ok}
    return ran.verdict.status, failed, ran.verdict.reasons


@pytest.mark.usefixtures("runtime_directory")
def test_without_mischief_nothing_fails(tmp_path: Path) -> None:
    _, failed, _ = judged("none", tmp_path)
    assert set(failed) <= NOISY


@pytest.mark.usefixtures("runtime_directory")
@pytest.mark.parametrize(
    ("mischief", "told"),
    [
        (
            "short queue",
            {
                "no drop": "h1/h1-eth0 out dropped",
                "retransmitted bytes": "segments sent twice: h1 ",
            },
        ),
        ("class changed", {"cluster as planned to the end": "class h1 h1-eth0 32: ceil_bps"}),
        ("class raised", {"no NIC above its rate": "h1/h1-eth0 out (50Mbit/s) carried"}),
        ("class removed", {"counters read throughout": "h1/h1-eth0 (out)"}),
        ("not IPv4", {"nothing unclassified": "h1/h1-eth0 out"}),
        ("past the classes", {"nothing unclassified": "past the classes of h1/h1-eth0 out"}),
        ("narrow device", {"no packet lost by a device": "tx_drops 1"}),
        ("route around", {"kernel and workload agree": "h1/h1-eth0 out"}),
        ("falsified count", {"kernel and workload agree": "in the account"}),
        ("CPU hog", {"machine CPU": "stop what else runs here"}),
    ],
)
def test_mischief_turns_the_verdict_and_is_named(
    tmp_path: Path, mischief: str, told: dict[str, str]
) -> None:
    status, failed, reasons = judged(mischief, tmp_path)
    assert status == "FAIL"
    for check, part in told.items():
        assert part in failed[check].reason
        assert any(f"{mischief}: {check}" in reason for reason in reasons)
    if mischief in ("short queue", "class raised", "class removed", "route around"):
        # Whatever it did to the figures, what it did to the cluster is named as well.
        assert "cluster as planned to the end" in failed


@pytest.mark.usefixtures("runtime_directory")
def test_bulk_on_the_management_network_turns_the_verdict(tmp_path: Path) -> None:
    """client -- mgmt -- sched, 1 Gbit, beside SNICs and CNICs that carry nothing"""
    status, failed, _ = judged("none", tmp_path, ManagementStream)
    assert status == "FAIL"
    assert "most was sent by client/mgmt" in failed["no bulk on the management network"].reason


@pytest.mark.usefixtures("runtime_directory")
def test_a_run_that_nobody_could_watch_turns_the_verdict(tmp_path: Path) -> None:
    """Whoever watches is stopped for longer than a second, while the stream goes on."""
    stopped: list[subprocess.Popen[bytes]] = []

    def stop_once(progress: Progress) -> None:
        if progress.phase == "warm-up" and not stopped:
            me = os.getpid()
            hand = f"kill -STOP {me}; sleep 1.2; kill -CONT {me}"
            stopped.append(subprocess.Popen(["sh", "-c", hand]))

    status, failed, _ = judged("none", tmp_path, report=stop_once)
    assert stopped[0].wait() == 0
    assert status == "FAIL"
    assert "too busy to watch" in failed["counters read throughout"].reason
    assert "wakes processes too late" in failed["timer lag"].reason
