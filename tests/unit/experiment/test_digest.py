from __future__ import annotations

import pytest

from testbed.experiment.digest import label, lines, predicted_lines, show


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
        ("requests", 12, "12"),
    ],
)
def test_a_value_is_shown_in_the_unit_of_its_name(name: str, value: object, shown: str) -> None:
    assert show(name, value) == shown


def test_a_label_is_the_name_in_words() -> None:
    assert label("kv_load_bps") == "kv load"
    assert label("turns_per_s_full_scale") == "turns, full scale"


def test_a_finished_run_begins_with_the_verdict() -> None:
    found = lines(
        "runs/x-demo",
        "FAIL",
        ["pe-only: no drop: 3 packets [bold]"],
        {
            "engines": "network-only",
            "speedup": {"pe-only": {"kv_load_bps": 1.0}, "round-robin": {"kv_load_bps": 1.954}},
            "predicted": {
                "pe-only": {"kv_load_bps": 100e6, "speedup": 1.0},
                "round-robin": {"kv_load_bps": 200e6, "speedup": 2.0},
            },
        },
        {
            "pe-only": {"kv_load_bps": 99e6, "nic_loads": [1], "ttft_s": None},
            "round-robin": {"kv_load_bps": 198e6, "nic_loads": None, "extra": 1},
        },
    )
    assert found[0].startswith("FAIL")
    assert "runs/x-demo" in found[0]
    assert "[bold]" in found[1], "what looks like markup is shown as it is"
    text = "\n".join(found)
    rows = {line.strip().split("  ")[0]: line for line in found}
    assert rows["kv load"].split()[-2:] == ["99Mbit/s", "198Mbit/s"]
    assert rows["kv load, predicted"].split()[-2:] == ["100Mbit/s", "200Mbit/s"]
    assert rows["speed-up in kv load"].split()[-2:] == ["1.00×", "1.95×"]
    assert rows["speed-up, predicted"].split()[-1] == "2.00×"
    assert "network-only" in text
    assert "nic loads" not in text
    assert "\x1b" not in text, "no colours away from a terminal"


def test_a_prediction_shows_what_holds_for_all_then_each_policy() -> None:
    found = "\n".join(
        predicted_lines(
            "demo", {"agents": 12, "policies": {"pe-only": {"kv_load_bps": 1e8, "share": 1.0}}}
        )
    )
    assert "agents: 12" in found
    assert "100Mbit/s" in found
