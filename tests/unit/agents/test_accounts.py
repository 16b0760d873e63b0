"""Which NICs a queue pair's bytes cross, and in which lane."""

from __future__ import annotations

import pytest

from agents.accounts import carried_bytes
from agents.ports import pair_name
from agents.records import AccountRecord


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
