"""Every experiment is a short script that says what it reproduces, what to expect and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.experiment.studies import DIRECTORY, files, load, minutes

MOST_LINES = 120
NAMED = {
    "table1_cache_compute", "fig7_offline", "fig8_pd_ratio", "fig9_append_generation",
    "fig10_online", "fig11_jct_aps", "fig12_breakdown", "fig12_ablation", "fig13_balance",
    "fig14_attention_balance", "table3_weak_scaling", "nic_loads", "lanes", "pd_window",
    "hardware_trend", "three_way", "split", "noisy_neighbour",
}  # fmt: skip
FILES = files() if DIRECTORY.is_dir() else {}


def test_all_that_the_paper_plots_or_implies_is_there() -> None:
    assert set(FILES) >= NAMED


@pytest.mark.parametrize("file", FILES.values(), ids=FILES)
def test_an_experiment_is_short_and_says_what_to_expect(file: Path) -> None:
    found = load(file)
    assert len(file.read_text().splitlines()) <= MOST_LINES
    assert "xpect" in found.about and len(found.about) > 200
    assert found.study.question.endswith("?") and found.study.source
    quick, medium, full = found.study.minutes
    assert 0 <= quick <= medium <= full


def test_quick_sizes_of_all_end_in_time() -> None:
    known = [load(file) for file in FILES.values()]
    shared = {name for each in known for name in each.study.shares}
    assert shared <= {"", *FILES}
    assert minutes(known, "quick") <= 25
