"""What a study has run, another study of the set does not run again."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from testbed.errors import ProgramError, ReportError
from testbed.experiment import asking, record
from testbed.experiment.asking import Asking, Runs
from testbed.experiment.repeats import Repeat
from testbed.experiment.runner import Progress
from testbed.fidelity.verdict import Verdict
from testbed.results import layout
from testbed.results.writer import plain, write_json

CHANGES = {"duration": "7s", "topology.set": {"gpus": 2}, "policies": ["pe-only"]}


class Made:
    """Stands for runs that are made: a directory with what a finished run has to say."""

    def __init__(self, status: str = "PASS") -> None:
        self.status = status
        self.interrupted = False
        self.failing: set[int] = set()  # numbers of repeats
        self.unwritten: tuple[ReportError, ...] = ()
        self.asked: list[Repeat] = []

    def __call__(self, asked: Any, one: Repeat, path: Path, *_: Any) -> Any:
        self.asked.append(one)
        if one.number in self.failing:
            raise ProgramError("pe0 has died", hint="see its log")
        place = path / f"run-{len(list(path.glob('*')))}"
        place.mkdir(parents=True)
        scenario = asked.scenario.model_copy(update={"seed": one.seed}).model_dump(mode="json")
        reasons = [] if self.status == "PASS" else ["a drop"]
        write_json(place / layout.VERDICT, Verdict(self.status, reasons, []))  # type: ignore[arg-type]
        run = {"layout_version": 1, "interrupted": self.interrupted, "scenario": plain(scenario)}
        write_json(place / layout.RUN, {**run, "policies": {}})

        ran = SimpleNamespace(interrupted=self.interrupted)
        return SimpleNamespace(path=place, ran=ran, unwritten=self.unwritten)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    maker = Made()
    monkeypatch.setattr(asking, "run_one", maker)
    return maker


def asks(place: Path, size: Any = "quick", **options: bool) -> Asking:
    return Asking("a-study", size, Runs(place, ["testbed"], lambda _: None, **options))


def test_the_same_scenario_is_run_once_in_a_set(tmp_path: Path, made: Made) -> None:
    runs = Runs(tmp_path, ["testbed"], lambda _: None)
    one, other = Asking("one", "quick", runs), Asking("other", "quick", runs)
    assert one.run("demo", CHANGES).path == other.run("demo", CHANGES).path
    assert len(made.asked) == 1
    assert one.evidence == other.evidence and len(one.evidence) == 1
    other.run("demo", CHANGES | {"duration": "8s"})
    assert len(made.asked) == 2 and len(other.evidence) == 2


def test_a_run_without_its_report_answers_all_the_same_and_is_told(
    tmp_path: Path, made: Made
) -> None:
    made.unwritten = (ReportError("the report was not written", hint="again"),)
    told: list[Progress] = []
    asking = Asking("a-study", "quick", Runs(tmp_path, ["testbed"], told.append))
    assert asking.run("demo", CHANGES).verdict.status == "PASS"
    assert [each.fields["warning"] for each in told] == ["the report was not written\nagain"]


def test_a_set_that_is_gone_on_with_repeats_no_run_that_is_complete(
    tmp_path: Path, made: Made
) -> None:
    made.status = "FAIL"
    assert asks(tmp_path).run("demo", CHANGES).verdict.status == "FAIL"
    made.status = "PASS"
    assert asks(tmp_path).run("demo", CHANGES).verdict.status == "FAIL"
    assert len(made.asked) == 1


def test_runs_that_may_not_be_believed_are_repeated_where_that_is_asked(
    tmp_path: Path, made: Made
) -> None:
    made.status = "FAIL"
    asks(tmp_path).run("demo", CHANGES)
    made.status = "PASS"
    for _ in range(2):  # the second time the newest run counts, which passed
        found = asks(tmp_path, retry_unfaithful=True).run("demo", CHANGES)
        assert found.verdict.status == "PASS" and len(made.asked) == 2


def test_an_interrupted_run_is_made_again(tmp_path: Path, made: Made) -> None:
    made.interrupted = True
    with pytest.raises(KeyboardInterrupt):
        asks(tmp_path).run("demo", CHANGES)
    made.interrupted = False
    asks(tmp_path).run("demo", CHANGES)
    asks(tmp_path).run("demo", CHANGES)
    assert len(made.asked) == 2


def test_larger_sizes_repeat_with_other_seeds_and_orders(tmp_path: Path, made: Made) -> None:
    ask = asks(tmp_path, "medium")
    changes = CHANGES | {"policies": ["pe-only", "shorter-queue"]}
    assert len(ask.runs("demo", changes)) == 3
    assert len({one.seed for one in made.asked}) == 3
    assert made.asked[0].order == tuple(reversed(made.asked[1].order))
    assert ask.pick(1, 2, 3) == 2
    assert len(ask.runs("demo", changes, repeat=1)) == 1 and len(made.asked) == 3


def test_a_repeat_that_fails_is_told_and_does_not_cost_the_others(
    tmp_path: Path, made: Made
) -> None:
    made.failing = {2}
    ask = asks(tmp_path, "medium")
    assert len(ask.runs("demo", CHANGES)) == 2 and len(made.asked) == 3
    assert [each.status for each in ask.evidence] == ["PASS", "PASS", "FAIL"]
    assert ask.evidence[-1].run == "demo, repeat 2 of 3"
    assert ask.evidence[-1].reasons == ["could not be made: pe0 has died"]
    made.failing = set()
    again = asks(tmp_path, "medium")  # makes the one that is missing
    assert len(again.runs("demo", CHANGES)) == 3 and len(made.asked) == 4
    assert {each.status for each in again.evidence} == {"PASS"}


def test_a_scenario_of_which_no_run_can_be_made_ends_its_study(tmp_path: Path, made: Made) -> None:
    made.failing = {1, 2, 3}
    with pytest.raises(ProgramError, match="pe0 has died"):
        asks(tmp_path, "medium").runs("demo", CHANGES)


def test_values_become_yaml(tmp_path: Path, made: Made) -> None:
    scenario = asks(tmp_path).run("demo", CHANGES).run["scenario"]
    asked = record.load("demo", {"duration": "7s"}).scenario
    assert scenario["duration"] == plain(asked.model_dump(mode="json"))["duration"]
    assert scenario["topology"]["set"] == {"gpus": 2} and scenario["policies"] == ["pe-only"]


def test_the_user_says_how_often_if_the_study_does_not(tmp_path: Path, made: Made) -> None:
    ask = Asking("a-study", "medium", Runs(tmp_path, ["testbed"], lambda _: None), repeat=2)
    assert len(ask.runs("demo", CHANGES)) == 2
    assert len(ask.runs("demo", CHANGES | {"duration": "9s"}, repeat=1)) == 1
