"""Calibration of real links: as they should be, and as they should not.

h1 -- s1 -- h2, 50 Mbit
st0 ══ pe0 (1 engine) ══ de0 (1 engine), 100 Mbit
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from testbed.fidelity.calibration import BUDGET_S, ClassResult, calibrate, checks, problem
from testbed.lab import Lab
from tests.netns.fidelity.streams import Star
from topologies.dualpath import DualPathTopo

NODES = ("prefill", "decode", "storage")


@pytest.fixture
def star(runtime_directory: object) -> Iterator[Lab]:
    with Lab(Star(2)) as lab:
        yield lab


def tc(lab: Lab, *words: str) -> None:
    lab["h1"].run(["tc", *words], check=True)


def outward(lab: Lab) -> ClassResult:
    """The class whose representative is h1's way out."""
    (found,) = (link for link in calibrate(lab).links if link.direction == "out")
    return found


@pytest.mark.user
@pytest.mark.usefixtures("runtime_directory")
def test_every_class_of_a_cluster_is_filled_on_time_and_leaves_it_as_it_was() -> None:
    with Lab(DualPathTopo(gpus=1)) as lab:
        found = calibrate(lab)
        assert lab.verify() == []
        stray = [s for s in lab.counters() if s.drops or s.unclassified_bytes or s.direct_packets]
        assert stray == []
    assert {(link.kind, link.role, link.direction) for link in found.links} == {
        *(("snic", role, way) for role in NODES for way in ("in", "out")),
        *(("cnic", role, way) for role in ("prefill", "decode") for way in ("read", "write")),
        ("mgmt", "", "in"), ("mgmt", "", "out"),
    }  # fmt: skip
    # How fast they were is the machine's affair; that they were loaded, and not too fast, is not.
    for link in found.links:
        assert link.reached_bps is not None and link.reached_bps > 0
        assert problem(link) in ("", "slow")
        assert link.round_trip_s is not None
    assert found.took_s < 3 * BUDGET_S  # a deadlock would take longer


def test_a_class_that_is_slower_than_its_line_is_slow(star: Lab) -> None:
    tc(star, "class", "change", "dev", "h1-eth0", "classid", "1:1", "htb", "rate", "20mbit")
    link = outward(star)
    assert problem(link) == "slow"
    assert 0.2 < link.share < 0.45
    rates, _ = checks("v", calibrate(star))
    assert not rates.ok and "h1/h1-eth0 out (50Mbit/s) reached" in rates.reason


@pytest.mark.usefixtures("runtime_directory")
def test_a_machine_that_is_too_slow_is_told_so() -> None:
    """h1 -- s1 -- h2, 90 Gbit: more than a processor copies"""
    with Lab(Star(2, mbit=90_000)) as lab:
        found = calibrate(lab)
    rates, _ = checks("v", found)
    assert not rates.ok
    assert "reached" in rates.reason
    assert "too slow for these links now" in rates.reason


def test_a_link_that_is_not_idle_is_noticed(star: Lab) -> None:
    """Datagrams to h2 fill h1's queue: small messages wait behind them."""
    target = star["h2"].addresses["h2-eth0"]
    flood = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        f"s.sendto(bytes(8000), ({target!r}, 9)); print(flush=True)\n"
        f"while True: s.sendto(bytes(8000), ({target!r}, 9))"
    )
    with star["h1"].popen([sys.executable, "-c", flood]) as there:
        assert there.stdout is not None
        assert there.stdout.readline() == b"\n"
        _, trips = checks("v", calibrate(star))
        there.kill()
    assert not trips.ok
    assert "was not idle" in trips.reason


def test_bytes_that_go_past_the_shapers_are_noticed(star: Lab) -> None:
    """h1 ── h2: a cable beside the switch, without a shaper, and a route by it."""
    target = star["h2"].addresses["h2-eth0"]
    own = star["h1"].addresses["h1-eth0"]
    with star["h2"].popen(["sh", "-c", "echo $$; exec sleep 60"]) as there:
        assert there.stdout is not None
        pid = there.stdout.readline().decode().strip()

        def ip(*words: str, end: tuple[str, ...] = ()) -> str:
            return star["h1"].run([*end, "ip", *words], check=True).stdout

        far = ("nsenter", "--target", pid, "--net")
        ip("link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", pid)
        ip("link", "set", "cable", "up", end=far)
        ip("link", "set", "cable", "up")
        mac = ip("-brief", "link", "show", "cable", end=far).split()[2]
        ip("route", "replace", f"{target}/32", "dev", "cable", "src", own)
        ip("neigh", "add", target, "lladdr", mac, "dev", "cable")
        found = calibrate(star)
        there.kill()
    rates, _ = checks("v", found)
    assert not rates.ok
    assert "faster than its line" in rates.reason
