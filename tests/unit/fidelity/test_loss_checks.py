from __future__ import annotations

import msgspec
import pytest

from testbed.fidelity.loss_checks import losses, retransmissions
from testbed.kernel.samples import LinkSample

SENT = 9000 * 100_000  # a thousandth is 100 segments


def tcp(retransmitted: int, **more: int) -> dict[str, dict[str, int]]:
    return {"pe0": {"RetransSegs": retransmitted, **more}, "de0": {"RetransSegs": 5}}


def test_retransmissions_are_those_of_the_run_as_full_segments() -> None:
    found = retransmissions("v", tcp(7), tcp(107, TCPTimeouts=4), SENT, 9000)
    assert found.ok
    assert found.measured == "≤ 0.100% (100 segments, 4 timeouts, 0 probes, 0 found needless)"
    found = retransmissions("v", tcp(7), tcp(108), SENT, 9000)
    assert found.ok is False
    assert "pe0 101" in found.reason
    assert "de0" not in found.reason


def test_packets_that_overtook_each_other_may_cost_a_short_run_one_recovery() -> None:
    assert retransmissions("v", tcp(0), tcp(14, TCPDSACKRecv=1), 1_000_000, 9000).ok
    assert retransmissions("v", tcp(0), tcp(15, TCPDSACKRecv=1), 1_000_000, 9000).ok is False


@pytest.mark.parametrize("counters", [{}, {"TCPTimeouts": 1, "TCPDSACKRecv": 1}])
def test_a_loss_or_a_timer_may_not(counters: dict[str, int]) -> None:
    assert retransmissions("v", tcp(0), tcp(1, **counters), 1_000_000, 9000).ok is False


@pytest.mark.parametrize(
    ("counters", "told"),
    [
        ({"TCPTimeouts": 1, "TCPDSACKRecv": 1}, "raise network.rto_min"),
        ({"TCPLossProbes": 1}, "raise network.rto_min"),
        ({"TCPDSACKRecv": 3}, "packets overtook each other"),
        ({}, "packets were lost"),
    ],
)
def test_why_bytes_were_sent_twice_is_told_by_what_tcp_counted(
    counters: dict[str, int], told: str
) -> None:
    assert told in retransmissions("v", tcp(0), tcp(200, **counters), SENT, 9000).reason


def test_retransmissions_that_nobody_counted_are_not_none() -> None:
    assert retransmissions("v", None, None, 1000, 100).ok is None
    assert retransmissions("v", tcp(0), {"pe0": {"RetransSegs": 0}}, 1000, 100).ok is None
    assert retransmissions("v", {"pe0": {}}, {"pe0": {"OutSegs": 1}}, 1000, 100).ok is None
    assert retransmissions("v", tcp(0), tcp(0), 0, 100).ok is None


IDLE = LinkSample(0, 0, 0, 0, 0, 0, 0, 0)
START = {"pe0": {"snic0": msgspec.structs.replace(IDLE, rx_drops=3)}, "fabric": {"storage": IDLE}}


def test_what_devices_carry_is_no_loss_and_what_they_lost_before_is_not_the_runs() -> None:
    busy = msgspec.structs.replace(START["pe0"]["snic0"], rx_bytes=9, tx_packets=1)
    assert losses("v", START, START | {"pe0": {"snic0": busy}}).ok


@pytest.mark.parametrize("counter", ["rx_errors", "rx_drops", "tx_errors", "tx_drops"])
def test_one_packet_that_a_device_lost_fails_and_names_it(counter: str) -> None:
    after = START | {"fabric": {"storage": msgspec.structs.replace(IDLE, **{counter: 1})}}
    found = losses("v", START, after)
    assert found.ok is False
    assert f"fabric/storage {counter} 1" in found.reason


def test_devices_that_nobody_read_or_that_are_gone_are_not_taken_for_good() -> None:
    assert losses("v", None, START).ok is None
    assert losses("v", START, {}).ok is None
    found = losses("v", START, {"pe0": START["pe0"], "fabric": {}})
    assert found.ok is None
    assert "fabric/storage" in found.reason
