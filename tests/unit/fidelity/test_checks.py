from __future__ import annotations

from collections.abc import Callable

import pytest

from testbed.fidelity import checks
from testbed.kernel.samples import MeterSample

Make = Callable[..., list[list[MeterSample]]]
OUT, IN, READ, MGMT = ("pe0/snic0", "out"), ("pe0/snic0", "in"), ("pe0/cnic0", "read"), (
    "pe0/mgmt", "out",
)  # fmt: skip


def ramp(step: int, count: int = 31) -> list[int]:
    return [i * step for i in range(count)]


@pytest.mark.parametrize("samples", [[], [[]]])
def test_without_samples_nothing_passes(samples: list[list[MeterSample]]) -> None:
    found = [
        checks.sampling("v", samples),
        checks.drops("v", samples),
        checks.rates("v", samples, {}),
        checks.accounts("v", samples, {OUT: 1.0}),
        checks.management("v", samples),
    ]
    assert [check.ok for check in found] == [None] * len(found)
    assert all(check.reason for check in found)


def test_a_gap_in_the_samples_is_found(series: Make) -> None:
    samples = series({OUT: ramp(1)})
    assert checks.sampling("v", samples).ok
    found = checks.sampling("v", samples[:5] + samples[20:])
    assert found.ok is False
    assert "1.6s" in found.measured


def test_one_dropped_packet_fails_and_says_where(series: Make) -> None:
    assert checks.drops("v", series({OUT: ramp(1), IN: ramp(1)})).ok
    found = checks.drops("v", series({OUT: ramp(1), IN: ramp(1)}, {IN: {"drops": 3}}))
    assert found.ok is False
    assert found.measured == "3 packets"
    assert "pe0/snic0 in dropped 3" in found.reason


def test_a_nic_may_carry_its_rate_and_its_bursts(series: Make) -> None:
    # 8 Mbit is 100 KB in 100 ms.
    full = [5000 + size for size in ramp(100_000)]
    full[0] = 0
    assert checks.rates("v", series({OUT: full}), {OUT: 5000}).ok
    found = checks.rates("v", series({OUT: ramp(104_000)}), {OUT: 5000})
    assert found.ok is False
    assert "pe0/snic0 out (8Mbit/s)" in found.reason


def test_a_sample_that_was_read_long_after_its_stamp_is_no_hole(series: Make) -> None:
    full = ramp(100_000)
    full[15] += 95_000  # read 95 ms late: the next sample's bytes are in it
    assert checks.rates("v", series({OUT: full}), {OUT: 5000}).ok


def test_a_second_above_the_rate_is_found_in_a_run_that_is_idle_otherwise(series: Make) -> None:
    sizes = [0] * 60 + [200_000 * i for i in range(1, 12)] + [2_200_000] * 60
    found = checks.rates("v", series({OUT: sizes}), {OUT: 10_000})
    assert found.ok is False


def test_a_nic_whose_shaper_the_plan_lacks_cannot_be_checked(series: Make) -> None:
    assert checks.rates("v", series({OUT: ramp(1)}), {}).ok is None


@pytest.mark.parametrize("stray", [{"unclassified": 60}, {"direct_packets": 1}])
def test_one_stray_packet_fails(series: Make, stray: dict[str, int]) -> None:
    assert checks.unclassified("v", series({OUT: ramp(1), IN: ramp(1)})).ok
    found = checks.unclassified("v", series({OUT: ramp(1), IN: ramp(1)}, {IN: stray}))
    assert found.ok is False
    assert "pe0/snic0 in" in found.reason


@pytest.mark.parametrize(
    ("said", "ok"),
    [
        (9_340_000, True),
        (9_160_000, True),  # 2 %
        (9_060_000, False),
        (9_620_000, False),
    ],
)
def test_kernel_and_account_may_differ_by_a_share(series: Make, said: float, ok: bool) -> None:
    # 10 000 packets of 66 bytes of headers each.
    found = checks.accounts("v", series({OUT: [0, 10_000_000]}), {OUT: said})
    assert found.ok is ok
    assert bool(found.reason) is not ok


def test_a_small_difference_is_none_whatever_its_share(series: Make) -> None:
    assert checks.accounts("v", series({OUT: [0, 70_156], IN: [7, 7]}), {IN: 0.0}).ok
    assert checks.accounts("v", series({OUT: [0, 70_157], IN: [7, 7]}), {IN: 0.0}).ok is False


def test_control_messages_need_no_account(series: Make) -> None:
    samples = series({OUT: [0, 10], MGMT: [0, 9_000_000]})
    assert checks.accounts("v", samples, {OUT: 10.0}).ok


def test_an_account_of_a_nic_that_is_not_there_fails(series: Make) -> None:
    found = checks.accounts("v", series({OUT: [0, 10]}), {READ: 5.0})
    assert found.ok is False
    assert "pe0/cnic0 read" in found.reason


def test_without_an_account_the_bytes_are_unmeasured(series: Make) -> None:
    assert checks.accounts("v", series({OUT: [0, 10]}), {}).ok is None
    found = checks.accounts("v", series({OUT: [0, 10]}), {OUT: 10.0}, unaccounted=[OUT])
    assert found.ok is None and found.reason == "whoever kept the accounts is lost"


def test_bulk_on_the_management_network_fails(series: Make) -> None:
    quiet = series({READ: [0, 200_000_000], MGMT: [0, 10_000_000]})
    assert checks.management("v", quiet).ok
    bulk = series({READ: [0, 200_000_000], MGMT: [0, 10_000_001]})
    found = checks.management("v", bulk)
    assert found.ok is False
    assert "pe0/mgmt" in found.reason


def test_a_variant_that_moves_nothing_may_schedule_all_the_same(series: Make) -> None:
    assert checks.management("v", series({READ: [0, 0], MGMT: [0, 4 * 1024 * 1024]})).ok
    found = checks.management("v", series({READ: [0, 0], MGMT: [0, 5 * 1024 * 1024]}))
    assert found.ok is False and "of its lines" in found.bound


def test_a_byte_is_sent_once_however_many_nics_it_crosses(series: Make) -> None:
    assert checks.sent_bytes(series({OUT: [5, 105], IN: [0, 100], READ: [0, 50]})) == 150
