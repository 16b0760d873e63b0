"""Every experiment is a short script that says what it reproduces, what to expect and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.experiment.asking import Asking, Runs
from testbed.experiment.studies import DIRECTORY, files, load, minutes

MOST_LINES = 120
CALCULATED = {"table1_cache_compute", "job_phases"}
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


@pytest.mark.parametrize("name", sorted(CALCULATED & FILES.keys()))
def test_what_is_calculated_has_an_answer_and_no_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = load(FILES[name])
    if name == "job_phases":
        monkeypatch.setitem(found.study.answer.__globals__, "AGENTS", 1024)
    ask = Asking(name, "quick", Runs(tmp_path, [], lambda _: None))
    answer = found.study.answer(ask)
    assert answer.charts and not ask.evidence
    assert all(row.measured is not None for row in answer.rows)
    assert sum(row.inside == "yes" for row in answer.rows) >= 2


def test_jobs_of_the_queueing_model_take_what_nics_and_engines_need() -> None:
    from scripts.experiments.job_phases import ENGINES, FLOPS_PER_S, SNIC_BYTES_PER_S, Work, played

    reads, computes = Work(SNIC_BYTES_PER_S, 0.0, 0.25), Work(0.0, FLOPS_PER_S, 0.0)
    assert played([[reads]] * 4, 2).tolist() == [1.25, 1.25, 2.25, 2.25]
    assert played([[reads, reads]], 2).tolist() == [1.25, 2.5]  # one turn after another
    assert played([[reads]] * 4, 0).tolist() == [0.25] * 4  # Oracle reads nothing
    assert played([[computes]] * (ENGINES + 1), 6).tolist() == [1.0] * ENGINES + [2.0]
    assert played([[Work(SNIC_BYTES_PER_S, FLOPS_PER_S, 0.5)]], 2).tolist() == [2.5]
