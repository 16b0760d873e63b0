from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import testbed.results
from testbed.errors import NotFoundError
from testbed.results import layout
from testbed.results.sets import load_set
from tests.unit.results.made import make_run, make_set


def figures(load: float) -> dict[str, dict[str, Any]]:
    return {"pe-only": {"load_bps": load}, "shorter-queue": {"load_bps": 2 * load}}


def test_a_set_has_its_runs_by_repeat_and_their_figures_by_seed(tmp_path: Path) -> None:
    made = load_set(
        make_set(tmp_path / "set", {1: figures(1.0), 77: figures(2.0), 5: figures(4.0)})
    )
    assert made.variants == ["pe-only", "shorter-queue"]
    assert made.seeds == [1, 77, 5]
    assert made.values("pe-only", "load_bps") == {1: 1.0, 77: 2.0, 5: 4.0}
    middle = made.median("shorter-queue", "load_bps")
    assert middle is not None and (middle.value, middle.low, middle.high) == (4.0, 2.0, 8.0)
    ratio = made.change("shorter-queue", "load_bps", "pe-only")
    assert ratio is not None and ratio.paired
    assert ratio.ratio is not None and ratio.ratio.value == 2.0


def test_runs_of_two_sets_are_pairs_if_their_seeds_are_the_same(tmp_path: Path) -> None:
    one = load_set(make_set(tmp_path / "one", {1: figures(1.0), 2: figures(2.0)}))
    same = load_set(make_set(tmp_path / "same", {2: figures(4.0), 1: figures(2.0)}))
    other = load_set(make_set(tmp_path / "other", {1: figures(2.0), 3: figures(4.0)}))
    paired = same.change("pe-only", "load_bps", "pe-only", of=one)
    assert paired is not None and paired.paired
    assert paired.ratio is not None and (paired.ratio.low, paired.ratio.high) == (2.0, 2.0)
    apart = other.change("pe-only", "load_bps", "pe-only", of=one)
    assert apart is not None and not apart.paired


def test_an_interrupted_run_is_not_part_of_a_set_and_a_failed_verdict_is(tmp_path: Path) -> None:
    path = make_set(tmp_path / "set", {1: figures(1.0), 2: figures(2.0)}, ok=False, asked=3)
    make_run(path / "2026-made-9", figures(9.0), seed=9001, interrupted=True)
    made = load_set(path)
    assert made.seeds == [1, 2]
    assert made.asked == 3
    assert len(made.unfaithful) == 2


def test_of_two_runs_with_one_seed_the_later_counts(tmp_path: Path) -> None:
    path = make_set(tmp_path / "set", {1: figures(1.0)})
    make_run(path / "2027-made", figures(9.0), seed=1)
    assert load_set(path).values("pe-only", "load_bps") == {1: 9.0}


def test_a_run_is_a_set_of_one_with_the_interval_that_it_gives(tmp_path: Path) -> None:
    run = make_run(
        tmp_path / "run",
        {"pe-only": {"load_bps": 5.0, "interval_load_bps": [4.0, 6.5], "turns": 3}},
        seed=4,
    )
    made = load_set(run)
    assert made.seeds == [4]
    within = made.median("pe-only", "load_bps")
    assert within is not None and (within.value, within.low, within.high) == (5.0, 4.0, 6.5)
    without = made.median("pe-only", "turns")
    assert without is not None and without.low is None
    assert made.median("pe-only", "no such figure") is None


def test_a_set_without_a_complete_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no run of the set"):
        load_set(make_set(tmp_path / "set", {}, asked=2))
    with pytest.raises(NotFoundError, match=r"set\.json"):
        load_set(tmp_path)


def test_a_set_is_found_by_name_but_is_no_run(tmp_path: Path) -> None:
    path = make_set(tmp_path / "20261125-demo", {1: figures(1.0)})
    layout.mark_latest(path)
    assert layout.find_results("2026", tmp_path) == path
    assert layout.find_results("latest", tmp_path) == path.resolve()
    with pytest.raises(NotFoundError, match="several runs") as refused:
        layout.find_run("latest", tmp_path)
    assert "2026-made-1" in refused.value.hint
    assert layout.all_runs(tmp_path) == []
    assert [run.name for run in layout.all_runs(path)] == ["2026-made-1"]


def test_load_is_a_public_name_and_an_import_path(tmp_path: Path) -> None:
    from testbed.results.load import load

    run = make_run(tmp_path / "run", figures(1.0))
    assert testbed.results.load is load
    assert testbed.results.load(str(run)).policies == testbed.results.load(run).policies


def test_load_says_what_reads_several_runs(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="holds several runs") as refused:
        testbed.results.load(make_set(tmp_path / "set", {1: figures(1.0)}))
    assert "load_set" in refused.value.hint
