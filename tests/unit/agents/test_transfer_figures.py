from __future__ import annotations

import pytest

from agents.accounts import carried_bytes
from agents.network_figures import nic_use, round_trips
from agents.records import AccountRecord, RoundTripRecord, TransferRecord
from agents.transfer_figures import crossed, transfer_rows
from agents.wire.pair_names import pair_name, parse_pair
from testbed.kernel.samples import LaneSample, MeterSample
from testbed.plan.compile import compile_plan
from testbed.plan.model import Plan
from topologies.dualpath import DualPathTopo


@pytest.fixture(scope="module")
def plan() -> Plan:
    """st0 ══ pe0, de0 (2 engines each, NVLink and PCIe), 100 Mbit; PCIe 500, NVLink 400"""
    return compile_plan(DualPathTopo(gpus=2, nvlink_mbit=400, pcie_mbit=500))


@pytest.mark.parametrize(
    ("caller", "target", "device", "lane"),
    [
        ("pe0", "st0", "snic0", "kv"),
        ("pe0g1", "pe0", "cnic1", "kv"),
        ("pe0g1", "de0", "cnic0", "kv"),
        ("pe0g0", "pe0", "pcie0", "kv"),
        ("pe0g0", "pe0g1", "nvl", "model"),
        ("pe0g0", "de0g0", "cnic0", "model"),
    ],
)
@pytest.mark.parametrize("side", ["caller", "called"])
def test_a_transfer_crosses_the_nics_that_its_account_is_booked_on(
    plan: Plan, caller: str, target: str, device: str, lane: str, side: str
) -> None:
    """What this end has sent; the two modules tell the way from different records."""
    name = pair_name(caller, target, device, side, lane)  # type: ignore[arg-type]
    route = parse_pair(name)
    own = carried_bytes([AccountRecord(name, 7, 0)])
    assert set(own) == set(crossed(plan, route.local, route.remote, device))


def transfer(source: str, target: str, port: str, size: int = 100_000) -> TransferRecord:
    return TransferRecord(1, "h2d", "pe", source, target, 0, 1, size, 1.5, 2.0, 1.0, port)


def test_the_ideal_is_the_slowest_line_on_the_way(plan: Plan) -> None:
    read, direct, copied = transfer_rows(
        plan,
        [
            transfer("st0", "pe0", "snic0"),
            transfer("pe0", "pe0g0", "pcie0"),
            transfer("de0", "de0", ""),
        ],
    )
    assert read.ideal_s == pytest.approx(0.008)  # 100 Mbit, though storage's NIC has 200
    assert read.queue_s == 0.5
    assert read.slowdown == pytest.approx(1.0 / 0.008)
    assert direct.ideal_s == pytest.approx(0.0016)
    assert (copied.ideal_s, copied.slowdown, copied.lane) == (None, None, "kv")


def test_the_lane_is_the_queue_pairs(plan: Plan) -> None:
    (row,) = transfer_rows(plan, [transfer("pe0g0", "de0g0", "cnic0:model")])
    assert (row.lane, row.device) == ("model", "cnic0")


def test_use_of_nics_is_of_the_window_and_by_lane() -> None:
    """100 Mbit/s: half full with kv in the first five seconds, full with model in the others."""

    def sample(t_s: float) -> MeterSample:
        kv = int(min(t_s, 5.0) * 6.25e6)
        model = int(max(0.0, t_s - 5.0) * 12.5e6)
        lanes = {"model": LaneSample(model, 0, 0), "kv": LaneSample(kv, 0, 0)}
        return MeterSample(
            t_s, "pe0/cnic0", "cnic", "pe0", "prefill", "read", 100_000_000, kv + model, 0, 0, 0, 0,
            125_000, 9, 0, 0, lanes,
        )  # fmt: skip

    samples = [[sample(step / 10)] for step in range(101)]
    (early,) = nic_use(samples, (1.0, 4.0))
    assert early["utilisation"] == pytest.approx(0.5)
    assert early["lanes"] == {"model": pytest.approx(0.0), "kv": pytest.approx(0.5)}
    assert early["backlog_s"] == pytest.approx(0.01)
    (late,) = nic_use(samples, (6.0, 9.0))
    assert late["lanes"]["model"] == pytest.approx(1.0)


def test_round_trips_are_told_apart_by_nic_and_lane() -> None:
    records = [
        RoundTripRecord(1.0, "pe0g0", "de0", "cnic0", 0.02, 1e-5),
        RoundTripRecord(1.0, "pe0g1", "de0", "cnic1", 0.04, 2e-5),
        RoundTripRecord(1.0, "pe0g1", "de0g1", "cnic1:model", 0.001, 1e-5),
        RoundTripRecord(9.0, "pe0g1", "de0g1", "cnic1:model", 5.0, 1e-5),
    ]
    found = round_trips(records, (0.0, 2.0))
    assert set(found) == {"cnic kv", "cnic model"}
    assert found["cnic kv"]["p50"] == pytest.approx(0.03)
    assert found["cnic kv"]["least"] == 1e-5
    assert found["cnic model"]["p99"] == pytest.approx(0.001)


def test_a_row_is_a_record_too(plan: Plan) -> None:
    record = transfer("st0", "pe0", "snic0")
    (row,) = transfer_rows(plan, [record])
    assert isinstance(row, TransferRecord)
    names = TransferRecord.__struct_fields__
    assert [getattr(row, n) for n in names] == [getattr(record, n) for n in names]
