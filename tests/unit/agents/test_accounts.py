"""Which NICs a queue pair's bytes cross, and in which lane."""

from __future__ import annotations

import pytest

from agents.accounts import carried_bytes
from agents.records import AccountRecord
from agents.wire.pair_names import pair_name


@pytest.mark.parametrize(
    ("caller", "target", "device", "lane", "crossed"),
    [
        ("pe0", "st0", "snic0", "kv", [("pe0/snic0", "out"), ("st0/snic0", "in")]),
        ("pe0g3", "pe0", "cnic3", "kv", [("pe0/cnic3", "read"), ("pe0/cnic3", "write")]),
        ("pe0g3", "de1", "cnic5", "kv", [("pe0/cnic3", "read"), ("de1/cnic5", "write")]),
        ("pe0g3", "pe0", "pcie3", "kv", [("pe0/pcie3", "in")]),
        ("pe1g3", "pe0g3", "cnic3", "model", [("pe1/cnic3", "read"), ("pe0/cnic3", "write")]),
        ("pe0g3", "pe0g1", "nvl", "model", [("pe0g3/nvl", "out"), ("pe0g1/nvl", "in")]),
    ],
)
def test_what_the_caller_sends_crosses(
    caller: str, target: str, device: str, lane: str, crossed: list[tuple[str, str]]
) -> None:
    sent = AccountRecord(pair_name(caller, target, device, "caller", lane), 100, 7)
    assert carried_bytes([sent]) == dict.fromkeys(crossed, 100)
    assert carried_bytes([sent], lane) == dict.fromkeys(crossed, 100)
    assert carried_bytes([sent], {"kv": "model", "model": "kv"}[lane]) == {}


def test_what_is_called_sends_the_other_way() -> None:
    h2d = AccountRecord(pair_name("pe0g3", "pe0", "pcie3", "called"), 100, 0)
    assert carried_bytes([h2d]) == {("pe0/pcie3", "out"): 100}
    answer = AccountRecord(pair_name("pe1g3", "pe0g3", "cnic3", "called", "model"), 100, 0)
    assert carried_bytes([answer]) == {("pe0/cnic3", "read"): 100, ("pe1/cnic3", "write"): 100}


def test_what_a_lost_node_sent_is_counted_where_it_arrived() -> None:
    """de1 is lost: its own account is worth nothing, nor is there one of its NICs."""
    accounts = [
        AccountRecord(pair_name("pe0g0", "de1", "cnic0", "caller"), 100, 30),
        AccountRecord(pair_name("pe0g0", "de1", "cnic0", "called"), 999, 999),
        AccountRecord(pair_name("de1", "st0", "snic0", "called"), 50, 20),
        AccountRecord(pair_name("pe0", "st0", "snic0", "called"), 7, 0),
        AccountRecord(pair_name("de1g0", "de0g0", "cnic0", "called", "model"), 5, 3),
    ]
    assert carried_bytes(accounts, lost=["de1"]) == {
        ("pe0/cnic0", "read"): 100,
        ("pe0/cnic0", "write"): 30,
        ("st0/snic0", "out"): 57,
        ("st0/snic0", "in"): 20,
        ("pe0/snic0", "in"): 7,
        ("de0/cnic0", "read"): 5,
        ("de0/cnic0", "write"): 3,
    }
