"""Figures for people: labels and units."""

from __future__ import annotations

import pytest

from testbed.metrics import axis, label, names, show, show_interval
from testbed.results.intervals import Interval


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("kv_load_bps", 199.8e6, "199.8Mbit/s"),
        ("kv_load_bps_full_scale", 799e9, "799Gbit/s"),
        ("turns_per_s", 3.25, "3.25/s"),
        ("stall_s", 0.0125, "12.5ms"),
        ("bytes_verified", 3 << 20, "3MiB"),
        ("hit_rate", 0.975, "97.5%"),
        ("steady", True, "yes"),
        ("kv_load_bps", None, "–"),
        ("ttft_s", {"p50": 0.5, "p99": 2.0, "mean": 0.6}, "500ms (p99 2s)"),
        ("jct_s", {"p50": None, "p99": None, "mean": None}, "–"),
        ("path_share", {"pe": 0.5, "de": 0.5}, "pe 50.0%, de 50.0%"),
        ("bound_by", "storage", "storage"),
        ("gap", 0.514, "51.4%"),
        ("slowdown.h2d.p99", 211.2, "211.2×"),
        ("collectives", {}, "–"),
        ("requests", 12, "12"),
    ],
)
def test_a_value_is_shown_in_the_unit_of_its_name(name: str, value: object, shown: str) -> None:
    assert show(name, value) == shown


def test_a_label_is_the_name_in_words() -> None:
    assert label("kv_load_bps") == "kv load"
    assert label("turns_per_s_full_scale") == "turns, full scale"
    assert label("modelled_speedup") == "speed-up, with modelled engines"


def test_rows_of_records_and_clock_readings_are_no_figures() -> None:
    summaries = {
        "a": {"x": 1, "window_s": [1, 2], "nics": None},
        "b": {"nics": [{}], "thirds_bps": [1.0, 2.0]},
    }
    assert names(summaries) == ["x", "thirds_bps"]
    assert show("thirds_bps", [1e6, 2e6]) == "1Mbit/s, 2Mbit/s"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("kv_load_bps", ("kv load (Mbit/s)", 1e6)),
        ("kv_load_bps_full_scale", ("kv load, full scale (Gbit/s)", 1e9)),
        ("ttft_s.p50", ("ttft p50 (s)", 1.0)),
        ("turns_per_s", ("turns (/s)", 1.0)),
        ("storage.stored_bytes", ("storage stored (MiB)", 2.0**20)),
        ("bytes_verified", ("bytes verified (MiB)", 2.0**20)),
        ("gpu_wait_share", ("gpu wait share (%)", 0.01)),
        ("snic_max_avg", ("snic max avg", 1.0)),
    ],
)
def test_an_axis_says_its_unit_and_what_values_are_divided_by(
    name: str, expected: tuple[str, float]
) -> None:
    assert axis(name) == expected


def test_a_figure_in_a_mapping_is_shown_in_the_mappings_unit() -> None:
    assert label("ttft_s.p50") == "ttft p50"
    assert show("ttft_s.p50", 0.25) == "250ms"
    assert show("storage.stored_bytes", 2048) == "2KiB"
    assert show_interval("ttft_s.p50", Interval(0.2, 0.1, 0.3, 0.95, 6)) == "200ms [100ms – 300ms]"
    assert show_interval("turns_per_s", Interval(2.0, None, None, None, 1)) == "2/s"
    assert show_interval("turns_per_s", None) == "–"
