"""A set of repeats that is begun, ended early, gone on with and added to; nothing is run for it."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from testbed import interrupts
from testbed.errors import (
    CapacityError,
    ConflictError,
    NotFoundError,
    ProgramError,
    ReportError,
    UnfaithfulError,
    UsageError,
)
from testbed.experiment import record, repeats, rounds, sets
from testbed.experiment.grid import Point
from testbed.experiment.record import Asked
from testbed.experiment.repeats import Repeat
from testbed.experiment.rounds import Status
from testbed.results import layout
from testbed.results.sets import load_set
from tests.unit.results.made import make_run


class Made:
    """Stands for making a run: writes one, or ends as it is told.

    Args:
        ends: number of a run (from 0) -> the error that ends it.
        failing: numbers of those whose verdict is FAIL.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seeds: list[int] = []
        self.ends: dict[int, BaseException] = {}
        self.failing: set[int] = set()
        self.unwritten: tuple[ReportError, ...] = ()
        monkeypatch.setattr(repeats, "run_one", self)
        monkeypatch.setattr(rounds, "foreseen", lambda _: {".": 10.0})

    def __call__(self, asked: Asked, one: Repeat, path: Path, *_: object) -> SimpleNamespace:
        number = len(self.seeds)
        self.seeds.append(one.seed)
        if number in self.ends:
            raise self.ends[number]
        figures = {"pe-only": {"kv_load_bps": 1e6 + number}}
        scenario = asked.scenario.model_dump(mode="json")
        run = make_run(
            path / f"2026-{number:03}", figures, seed=one.seed, ok=number not in self.failing,
            scenario=scenario,
        )  # fmt: skip
        return SimpleNamespace(
            path=run, ran=SimpleNamespace(interrupted=False), unwritten=self.unwritten
        )


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    return Made(monkeypatch)


@pytest.fixture(scope="module")
def asked() -> Asked:
    return record.load("demo")


def run(
    asked: Asked, out: Path, times: int | None, into: Path | None = None, *, retry: bool = False
) -> tuple[sets.Repeated, list[Status]]:
    told: list[Status] = []
    found = sets.run(
        asked, out, times, ["testbed"], lambda _: None, told.append, into=into,
        retry_unfaithful=retry,
    )  # fmt: skip
    return found, told


def seeds(times: int) -> list[int]:
    return repeats.derived_seeds(1, times)


def test_a_set_that_was_ended_is_gone_on_with_and_nothing_is_run_twice(
    asked: Asked, made: Made, tmp_path: Path
) -> None:
    made.ends = {2: KeyboardInterrupt()}
    began: list[Status] = []
    with pytest.raises(KeyboardInterrupt) as ended:
        sets.run(asked, tmp_path, 4, [], lambda _: None, began.append)
    (path,) = (each for each in tmp_path.iterdir() if not each.is_symlink())
    assert ended.value.__notes__ == [
        f"2 of 4 runs of the set {path} are complete; the same command with --into {path.name} "
        "makes the others"
    ]
    assert began[0].left_s == 40.0  # as predicted
    found, told = run(asked, tmp_path, None, path)
    assert found == sets.Repeated(path, {})
    assert [(status.done, status.total) for status in told] == [(2, 4), (3, 4)]
    assert told[0].left_s is not None
    assert made.seeds == [*seeds(3), *seeds(4)[2:]]
    assert load_set(path).seeds == seeds(4)
    assert (tmp_path / "latest").resolve() == path
    run(asked, tmp_path, 4, path)
    assert len(made.seeds) == 5


def test_repeats_are_added_with_the_seeds_that_a_larger_set_has(
    asked: Asked, made: Made, tmp_path: Path
) -> None:
    first, _ = run(asked, tmp_path, 2)
    run(asked, tmp_path, 5, first.path)
    assert made.seeds == seeds(5)
    runs = load_set(first.path)
    assert (runs.asked, runs.numbers) == (5, [1, 2, 3, 4, 5])
    orders = [
        each["order"] for each in json.loads((first.path / layout.SET).read_text())["repeats"]
    ]
    assert orders[0] == orders[2] == orders[1][::-1]


def test_a_run_that_fails_does_not_end_the_set_and_is_made_again(
    asked: Asked, made: Made, tmp_path: Path
) -> None:
    made.ends = {1: ProgramError("pe0 died")}
    found, told = run(asked, tmp_path, 3)
    assert [status.failed for status in told] == [0, 0, 1]
    assert list(found.failed) == ["repeat 2"]
    with pytest.raises(ProgramError, match="pe0 died") as ended:
        found.judge()
    assert "--into" in ended.value.__notes__[0]
    assert found.as_json()["failed"] == {"repeat 2": "pe0 died"}
    assert "failed: repeat 2: pe0 died" in "\n".join(found.lines())
    again, _ = run(asked, tmp_path, None, found.path)
    assert made.seeds == [*seeds(3), seeds(3)[1]]
    again.judge()


def test_reports_that_are_not_there_are_told_at_the_end(
    asked: Asked, made: Made, tmp_path: Path
) -> None:
    made.unwritten = (ReportError("the report of a run was not written"),)
    found, _ = run(asked, tmp_path, 2)
    assert found.as_json()["unwritten"] == 2 * ["the report of a run was not written"]
    with pytest.raises(ReportError) as ended:
        found.judge(accept_unfaithful=True)
    assert len(ended.value.__notes__) == 1


def test_a_set_keeps_its_runs_if_its_page_cannot_be_written(
    asked: Asked, made: Made, tmp_path: Path
) -> None:
    first, _ = run(asked, tmp_path, 1)
    figures = first.path / layout.FIGURES
    figures.rename(first.path / "moved")
    figures.write_text("in the way")
    found, _ = run(asked, tmp_path, 2, first.path)
    assert len(found.as_json()["runs"]) == 2
    with pytest.raises(ReportError, match="File exists"):
        found.judge()


def test_a_set_of_which_no_run_could_be_made_ends_with_the_reason(
    asked: Asked, made: Made, tmp_path: Path
) -> None:
    made.ends = {0: ProgramError("pe0 died"), 1: ProgramError("de0 died")}
    with pytest.raises(ProgramError, match="pe0 died"):
        run(asked, tmp_path, 2)


def test_unfaithful_runs_are_told_and_made_again_if_that_is_asked_for(
    asked: Asked, made: Made, tmp_path: Path
) -> None:
    made.failing = {1}
    found, _ = run(asked, tmp_path, 2)
    assert found.as_json()["verdict"] == "FAIL"
    found.judge(accept_unfaithful=True)
    with pytest.raises(UnfaithfulError, match="1 runs"):
        found.judge()
    run(asked, tmp_path, None, found.path)
    assert len(made.seeds) == 2
    again, _ = run(asked, tmp_path, None, found.path, retry=True)
    assert made.seeds == [*seeds(2), seeds(2)[1]]
    assert again.as_json()["verdict"] == "PASS"
    again.judge()


def test_another_scenario_is_refused_by_what_differs(
    asked: Asked, made: Made, tmp_path: Path
) -> None:
    found, _ = run(asked, tmp_path, 2)
    for key, value, said in (("duration", "99s", r"duration \(35.0s / 99"), ("seed", "7", "1 / 7")):
        with pytest.raises(UsageError, match=said):
            run(record.load("demo", {key: value}), tmp_path, 2, found.path)
    assert len(made.seeds) == 2


def test_fewer_runs_than_there_are_to_be_and_what_is_no_set_are_refused(
    asked: Asked, made: Made, tmp_path: Path
) -> None:
    found, _ = run(asked, tmp_path, 3)
    with pytest.raises(UsageError, match="is to have 3 runs, and 2 are asked for"):
        run(asked, tmp_path, 2, found.path)
    with pytest.raises(NotFoundError, match="is no set of runs"):
        run(asked, tmp_path, 2, found.path / "2026-000")


def test_a_set_that_is_being_run_is_not_run_twice(asked: Asked, made: Made, tmp_path: Path) -> None:
    found, _ = run(asked, tmp_path, 2)
    with rounds.alone(found.path), pytest.raises(ConflictError, match="being run already"):
        run(asked, tmp_path, 3, found.path)


def test_what_the_machine_cannot_carry_leaves_no_set(tmp_path: Path) -> None:
    with pytest.raises(CapacityError):
        run(record.load("demo", {"scale.rate": "10"}), tmp_path, 2)
    assert list(tmp_path.iterdir()) == []


def test_how_long_a_run_takes_is_predicted(asked: Asked) -> None:
    point = Point({}, ".", asked, repeats.planned(1, ["pe-only"], 1))
    found = rounds.foreseen([point])
    assert found == {".": record.predict(asked).prediction["length_s"]}


def test_a_signal_in_what_does_not_wait_is_heeded_before_the_next_run(
    asked: Asked, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_one(*given: Any) -> SimpleNamespace:
        with interrupts.held():
            interrupts.check()  # as bringing up does
            signal.raise_signal(signal.SIGINT)  # while tables are written
            return made(*given)

    monkeypatch.setattr(repeats, "run_one", run_one)
    before = {each: signal.signal(each, signal.default_int_handler) for each in interrupts.SIGNALS}
    try:
        with pytest.raises(KeyboardInterrupt) as ended, interrupts.heeded():
            run(asked, tmp_path, 3)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert "1 of 3 runs of the set" in ended.value.__notes__[0]
