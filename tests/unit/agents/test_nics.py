"""What the kernel counted on NICs, as rates; and the table of loads beside the formulae's."""

from __future__ import annotations

import pytest

from agents.nics import NicSeries, Shares, load_table
from testbed.kernel.samples import FRAME_HEADER_BYTES, LaneSample, MeterSample

LINE = 100_000_000


def meter(
    t_s: float, nic: str, size: int, *, role: str = "prefill", model: int = 0, packets: int = 0
) -> MeterSample:
    """The incoming side of a SNIC.

    Args:
        size, packets: in the kv lane.
        model: bytes in the other.
    """
    lanes = {"model": LaneSample(model, 0, 0), "kv": LaneSample(size, packets, 0)}
    node = nic.partition("/")[0]
    return MeterSample(
        t_s, nic, "snic", node, role, "in", LINE, size + model, packets, 0, 0, 0, 0, 0, 0, 0, lanes
    )


def test_rates_are_of_the_window_between_samples_and_of_the_whole_line() -> None:
    """5 MB/s of kv and as much of model execution, from 2 s on."""
    samples = [
        [meter(t, "pe0/snic0", 5_000_000 * max(0, t - 2), model=5_000_000 * max(0, t - 2))]
        for t in range(11)
    ]
    series = NicSeries(samples)
    name = ("pe0/snic0", "in")
    assert series.rates_bps(4.5, 6.25) == {name: pytest.approx(80e6)}
    assert series.utilisation(4.5, 6.25) == {name: pytest.approx(0.8)}
    assert series.utilisation(0.0, 4.0) == {name: pytest.approx(0.4)}


def test_payload_is_what_the_kv_lane_carried_without_headers() -> None:
    def at(t: int) -> MeterSample:
        size, packets = 9014 * 100 * t, 100 * t
        return meter(t, "pe0/snic0", size, model=10**6 * t, packets=packets)

    (found,) = NicSeries([[at(0)], [at(10)]]).payload_bps(0.0, 10.0).values()
    assert found == pytest.approx(8 * 100 * (9014 - FRAME_HEADER_BYTES))


def test_imbalance_is_of_each_step_and_of_nodes_that_read() -> None:
    """Two SNICs: in the first second one has all, in the second they have 30 and 40."""
    first, second = (0, 10, 40), (0, 0, 40)

    def samples(a: tuple[int, ...], b: tuple[int, ...]) -> list[list[MeterSample]]:
        return [
            [
                meter(t, "pe0/snic0", a[t]),
                meter(t, "de0/snic0", b[t], role="decode"),
                meter(t, "st0/snic0", 1000 * t, role="storage"),
            ]
            for t in range(3)
        ]

    series = NicSeries(samples(first, second))
    assert series.imbalance(0.0, 2.0, 1.0) == pytest.approx((2 + 40 / 35) / 2)
    assert series.imbalance(0.0, 2.0, 2.0) == pytest.approx(1.0)
    assert series.imbalance(0.0, 0.5, 1.0) is None  # no whole step
    assert (
        NicSeries(samples((0, 10, 10), (0, 0, 0))).imbalance(0.0, 2.0, 1.0) is None
    )  # nothing at all


def test_loads_are_sums_over_a_role_beside_the_formulae() -> None:
    rates = {
        ("pe0/snic0", "in"): 30.0,
        ("pe1/snic0", "in"): 20.0,
        ("de0/snic0", "out"): 9.0,
        ("de0/cnic0", "read"): 1.0,
        ("de0/cnic7", "read"): 2.0,
        ("st0/snic0", "in"): 1000.0,
        ("pe0/mgmt", "in"): 1000.0,
    }
    roles = {"pe0": "prefill", "pe1": "prefill", "de0": "decode", "st0": "storage"}
    shares = Shares(prefill=0.5, miss=0.1, generated=0.03, written=0.08)
    loads = {load.name: load for load in load_table(rates, roles, 100.0, shares)}
    assert loads["pe-snic-in"][1:] == (50.0, pytest.approx(50.0))
    assert loads["pe-snic-in"].ratio == pytest.approx(1.0)
    assert loads["de-snic-out"][1:] == (9.0, pytest.approx(8.0))  # blocks that are full alone
    assert loads["de-cnic-read"][1:] == (3.0, pytest.approx(100 * (1.5 + 0.1 + 0.03)))
    assert loads["pe-cnic-write"].measured_bps == 0.0
