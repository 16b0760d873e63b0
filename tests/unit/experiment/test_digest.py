from __future__ import annotations

import re
from typing import Any

from testbed.experiment.digest import lines, predicted_lines


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
            "predicted_measured": {
                "pe-only": {"cores": {"predicted": 0.5, "measured": 0.6, "error": 0.2}},
                "round-robin": {"cores": {"predicted": 1.0, "measured": None, "error": None}},
            },
            "caps_turns_per_s": {"pe-snics": 9.5, "decode-hbm": None},
            "modelled_caps_turns_per_s": {"pe-snics": 9.5, "decode-hbm": 4.5},
            "modelled_speedup": {"pe-only": 1.0, "round-robin": 1.25},
        },
        {
            "pe-only": {"kv_load_bps": 99e6, "nic_loads": [1], "ttft_s": None},
            "round-robin": {"kv_load_bps": 198e6, "nic_loads": None, "extra": 1},
        },
        ["pe-only: storage was full [bold]"],
    )
    assert found[0].startswith("FAIL")
    assert "runs/x-demo" in found[0]
    assert "[bold]" in found[1], "what looks like markup is shown as it is"
    assert found[2] == "  note: pe-only: storage was full [bold]"
    assert found[3] == (
        "round-robin: 1.95× the kv load of pe-only (predicted 2.00×; with modelled engines 1.25×)"
    )
    text = "\n".join(found)
    rows = {line.strip().split("  ")[0]: line for line in found}
    assert rows["kv load"].split()[-2:] == ["99Mbit/s", "198Mbit/s"]
    assert rows["speed-up in kv load"].split()[-2:] == ["1.00×", "1.95×"]
    assert "predicted | measured" in rows
    assert rows["cores"].split() == ["cores", "0.5", "|", "0.6", "1", "|", "–"]
    assert rows["speed-up, with modelled engines"].split()[-2:] == ["1.00×", "1.25×"]
    assert rows["pe-snics"].split() == ["pe-snics", "9.5/s", "9.5/s"]
    assert rows["decode-hbm"].split() == ["decode-hbm", "–", "4.5/s"]
    assert "network-only" in text
    assert "nic loads" not in text
    assert "ttft" not in text, "no policy says"
    assert "\x1b" not in text, "no colours away from a terminal"


def test_a_prediction_shows_what_holds_for_all_then_each_policy() -> None:
    found = "\n".join(
        predicted_lines(
            "demo",
            {
                "agents": 12,
                "caps_turns_per_s": {"pe-snics": 9.5},
                "modelled_speedup": {"pe-only": 1.0},
                "policies": {"pe-only": {"kv_load_bps": 1e8, "share": 1.0}},
            },
        )
    )
    assert re.search(r"pe-snics +9\.5/s", found)
    assert "speed-up, with modelled engines" in found
    assert "agents: 12" in found
    assert "100Mbit/s" in found


def test_one_policy_alone_is_compared_with_nothing() -> None:
    speedup = {"pe-only": {"kv_load_bps": 1.0}}
    assert "of pe-only" not in "\n".join(lines("x", "PASS", [], {"speedup": speedup}, {}))


def test_words_that_both_sides_share_are_marked_and_others_left_out() -> None:
    def pairs(seen: str, same: bool) -> dict[str, Any]:
        return {
            "bound_by": {"predicted": "pe-snic-in", "measured": "storage", "error": None},
            "binds": {"predicted": "pe-snics", "measured": seen, "error": None, "same": same},
        }

    beside = {"a": pairs("pe-snics", True), "b": pairs("load", False)}
    text = "\n".join(lines("runs/x", "PASS", [], {"predicted_measured": beside}, {}))
    assert "pe-snics | pe-snics ✓" in text and "pe-snics | load ✗" in text
    assert "storage" not in text
