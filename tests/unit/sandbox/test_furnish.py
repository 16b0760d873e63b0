"""The names of a cluster, as its programs see them."""

from __future__ import annotations

from testbed.plan.model import Domain, Plan
from testbed.sandbox.furnish import hosts_file


def test_every_port_and_every_domain_has_a_name() -> None:
    dram = {"snic0": "10.1.0.1", "mgmt": "10.0.0.1"}
    plan = Plan(
        frozenset(),
        domains={
            "pe0": Domain("pe0", "dram", "pe0", "prefill", dram),
            "pe0g0": Domain("pe0g0", "hbm", "pe0", "prefill", {"cnic0": "10.64.0.2"}),
            "alone": Domain("alone", "host", "alone", "host", {}),
        },
    )
    pairs = [tuple(line.split()) for line in hosts_file(plan).splitlines()]
    assert pairs == [
        ("127.0.0.1", "localhost"),
        ("10.1.0.1", "pe0-snic0"),
        ("10.0.0.1", "pe0-mgmt"),
        ("10.0.0.1", "pe0"),  # the management address, where there is one
        ("10.64.0.2", "pe0g0-cnic0"),
        ("10.64.0.2", "pe0g0"),
    ]
