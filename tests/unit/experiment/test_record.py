from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from testbed.errors import CapacityError, ProgramError, ReportError, UnfaithfulError
from testbed.experiment import runner
from testbed.experiment.record import Asked, execute
from testbed.experiment.runner import Ran
from testbed.experiment.scenario import Scenario, TopologyChoice
from testbed.experiment.workload import Outcome, Series
from testbed.fidelity.checks import Check
from testbed.fidelity.monitor import MachineSample
from testbed.fidelity.sampler import Counted
from testbed.fidelity.verdict import judge
from testbed.kernel.samples import LaneSample, MeterSample
from testbed.plan.model import Plan
from testbed.report import page
from testbed.results import layout
from testbed.results.load import load

STORED = Path(__file__).resolve().parents[2] / "data"
SCENARIO = Scenario(name="tiny", topology=TopologyChoice(name="single"), duration=1.0)


class Flow(msgspec.Struct):
    flow: int
    size_bytes: int


def ran(ok: bool = True, interrupted: bool = False) -> Ran:
    lanes = {"kv": LaneSample(9, 1, 0), "unclassified": LaneSample(0, 0, 0)}
    sample = MeterSample(
        1.0, "h1/h1-eth0", "link", "h1", "host", "out", 8_000, 9, 1, 0, 0, 0, 0, 0, 0, 0, lanes
    )
    tcp = ({"h1": {"RetransSegs": 2}}, {"h1": {"RetransSegs": 5}})
    series = Series(1.0, 2.0, Counted([[sample]], tcp), {"open_s": 1.2})
    summary = {"load_bps": 72.0, "cap_bps": float("inf")}
    outcome = Outcome(summary, {"flows": [Flow(1, 9)]}, (1.2, 1.9), [], {("h1/x", "out"): 9.0})
    check = Check("no drop", "fair", ok, "3 packets", "0 packets", "" if ok else "queues")
    machine = [MachineSample(1.0, 0.1, 0.0, 0.0, 0, 0, None, 0.2, 0.0)]
    return Ran(
        Plan(frozenset(), "single"), {"load_bps": 80.0}, {"fair": outcome},
        {"speedup": {"fair": {"load_bps": 1.0}}}, judge([check], interrupted=interrupted),
        {"fair": series}, {"fair": machine}, {"fair": 0.1}, {"fair": 0.2}, interrupted, ["fair"],
    )  # fmt: skip


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Ran | Exception], Any]:
    """Write what a given run brought: the writing is under test, not the running."""

    def execute_with(result: Ran | Exception) -> Any:
        def instead(_: Scenario, __: Any, directory: Path, *___: Any) -> Ran:
            (directory / layout.LOGS).mkdir()
            if isinstance(result, Exception):
                raise result
            return result

        monkeypatch.setattr(runner, "run", instead)
        asked = Asked(SCENARIO, None)  # type: ignore[arg-type]
        return execute(asked, tmp_path / "runs", ["testbed", "run", "tiny"], lambda _: None)

    monkeypatch.setattr(page, "write_report", lambda path: (path / layout.REPORT).touch())
    return execute_with


def test_a_run_directory_reads_back(run: Callable[[Ran], Any]) -> None:
    finished = run(ran())
    found = load(finished.path)
    assert found.tables == ["flows", "machine", "nics"]
    assert found.table("flows").to_dicts() == [{"policy": "fair", "flow": 1, "size_bytes": 9}]
    assert found.machine["throttled_s"].to_list() == [None]
    assert found.nics["bytes"].to_list() == [9, 9, 0]
    assert found.verdict.status == "PASS"
    assert found.run["scenario"]["duration"] == "1.0s"
    assert found.run["command"] == ["testbed", "run", "tiny"]
    assert found.policies["fair"]["tcp"] == {"h1": {"RetransSegs": 3}}
    assert found.policies["fair"]["summary"] == {"load_bps": 72.0, "cap_bps": None}
    assert layout.find_run("latest", finished.path.parent) == finished.path.resolve()


def test_the_object_for_programs_is_json_and_has_the_documented_fields(
    run: Callable[[Ran], Any],
) -> None:
    finished = run(ran())
    found = json.loads(json.dumps(finished.as_json(), allow_nan=False))
    assert found == {
        "run": str(finished.path),
        "verdict": "PASS",
        "reasons": [],
        "remarks": [],
        "unwritten": [],
        "speedup": {"fair": {"load_bps": 1.0}},
        "policies": {"fair": {"load_bps": 72.0, "cap_bps": None}},
    }
    assert finished.lines()[0].startswith("PASS")
    assert finished.lines()[-1] == f"report: {finished.path / 'report.html'}"
    without = finished._replace(unwritten=(ReportError("no room for it"),))
    assert "report: " not in "\n".join(without.lines())
    finished.judge()


def test_a_failed_verdict_is_written_and_is_an_error(run: Callable[[Ran], Any]) -> None:
    finished = run(ran(ok=False))
    assert load(finished.path).verdict.status == "FAIL"
    with pytest.raises(UnfaithfulError, match="no drop: 3 packets"):
        finished.judge()
    finished.judge(accept_unfaithful=True)


def test_an_interrupted_run_is_written_all_the_same(run: Callable[[Ran], Any]) -> None:
    finished = run(ran(interrupted=True))
    assert load(finished.path).run["interrupted"] is True
    assert finished.as_json()["verdict"] == "FAIL"
    with pytest.raises(KeyboardInterrupt):
        finished.judge(accept_unfaithful=True)


@pytest.fixture
def reportless(run: Callable[[Ran], Any], monkeypatch: pytest.MonkeyPatch) -> Callable[[Ran], Any]:
    """The same where the report cannot be written."""

    def into_nowhere(path: Path) -> None:
        (path / "nowhere" / layout.REPORT).write_text("")

    monkeypatch.setattr(page, "write_report", into_nowhere)
    return run


def test_a_run_without_its_report_is_complete_and_says_so(
    reportless: Callable[[Ran], Any],
) -> None:
    finished = reportless(ran())
    assert load(finished.path).tables == ["flows", "machine", "nics"]
    assert layout.find_run("latest", finished.path.parent) == finished.path.resolve()
    assert finished.as_json()["verdict"] == "PASS"
    (said,) = finished.as_json()["unwritten"]
    assert said.startswith(f"the report of {finished.path} was not written: FileNotFoundError")
    with pytest.raises(ReportError) as failure:
        finished.judge(accept_unfaithful=True)
    assert failure.value.hint.endswith(f"testbed report {finished.path}")


def test_what_is_worse_than_no_report_comes_first(reportless: Callable[[Ran], Any]) -> None:
    with pytest.raises(UnfaithfulError) as doubtful:
        reportless(ran(ok=False)).judge()
    with pytest.raises(KeyboardInterrupt) as ended:
        reportless(ran(interrupted=True)).judge()
    for failure in (doubtful, ended):
        (note,) = failure.value.__notes__
        assert "was not written" in note and "testbed report" in note


def test_a_run_that_could_not_begin_leaves_no_directory(
    run: Callable[[Exception], Any], tmp_path: Path
) -> None:
    with pytest.raises(CapacityError):
        run(CapacityError("too large"))
    assert list((tmp_path / "runs").iterdir()) == []


def test_the_logs_of_a_run_that_broke_stay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def breaks(_: Scenario, __: Any, directory: Path, *___: Any) -> Ran:
        (directory / layout.LOGS).mkdir()
        (directory / layout.LOGS / "pe0.log").write_text("why")
        raise ProgramError("pe0 died")

    monkeypatch.setattr(runner, "run", breaks)
    with pytest.raises(ProgramError) as failure:
        execute(Asked(SCENARIO, None), tmp_path, ["testbed"], lambda _: None)  # type: ignore[arg-type]
    (left,) = tmp_path.iterdir()
    assert failure.value.__notes__ == [f"what there is of the run by now is in {left}"]
    assert (left / layout.LOGS / "pe0.log").read_text() == "why"
    assert layout.all_runs(tmp_path) == []


def test_run_json_has_every_key_that_its_version_promises(run: Callable[[Ran], Any]) -> None:
    stored = load(STORED / f"run-layout-{layout.LAYOUT_VERSION}").run
    found = load(run(ran()).path).run
    assert set(stored) <= set(found)
    (promised, *_), (written, *_) = stored["policies"].values(), found["policies"].values()
    assert set(promised) <= set(written)
    assert found["order"] == ["fair"]
