from __future__ import annotations

import fcntl
import json
import random
import re
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from testbed.errors import CapacityError, ConflictError, ProgramError
from testbed.experiment import grid, repeats, sweep
from testbed.experiment.grid import Point
from testbed.experiment.record import Asked
from testbed.experiment.repeats import Repeat
from testbed.experiment.rounds import Status, in_rounds, left, left_s, plan
from testbed.results import layout
from tests.unit.results.made import make_run

SWEEP = """\
name: agents
scenario: demo
grid: {workload.agents: [8, 16], duration: [10s, 20s]}
repeats: 3
"""


@pytest.fixture
def points(tmp_path: Path) -> list[Point]:
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    return grid.load(tmp_path / "sweep.yaml")[1]


def finish(path: Path, point: Point, seed: int, **said: bool) -> Path:
    name = f"2026-{len(list(path.glob('*/*')))}"
    return make_run(path / point.directory / name, {"pe-only": {}}, seed=seed, **said)


def test_rounds_go_over_the_points_to_and_fro(points: list[Point]) -> None:
    jobs = in_rounds(points)
    assert [job.repeat.number for job in jobs] == [1] * 4 + [2] * 4 + [3] * 4
    order = [points.index(job.point) for job in jobs]
    assert order == [0, 1, 2, 3, 3, 2, 1, 0, 0, 1, 2, 3]


def test_whatever_was_finished_the_rest_is_run_once(points: list[Point]) -> None:
    jobs = in_rounds(points)
    choice = random.Random(4)
    for _ in range(20):
        done = choice.sample(range(len(jobs)), choice.randrange(len(jobs) + 1))
        finished: dict[str, dict[int, float]] = {}
        for number in done:
            job = jobs[number]
            finished.setdefault(job.point.directory, {})[job.repeat.seed] = 1.0
        to_do = left(jobs, finished)
        assert to_do == [job for number, job in enumerate(jobs) if number not in done]


def test_the_time_left_goes_by_what_was_done_and_before_that_by_what_is_predicted(
    points: list[Point],
) -> None:
    light, heavy, *_ = in_rounds(points)  # of weights 20 and 40
    lengths_s = {light.point.directory: 5.0, heavy.point.directory: 7.0}
    assert left_s([], [light], {}) is None
    assert left_s([], [light, heavy, light], lengths_s) == 17.0
    assert left_s([(10.0, 30.0)], [light, heavy], lengths_s) == 180.0
    assert left_s([(10.0, 30.0), (30.0, 50.0)], [light], {}) == 40.0
    assert left_s([(10.0, 30.0)], [], {}) == 0.0


def test_longer_scenarios_with_more_policies_weigh_more(points: list[Point]) -> None:
    assert [job.weight for job in in_rounds(points)[:4]] == [20.0, 40.0, 20.0, 40.0]


def test_nothing_is_finished_where_there_is_nothing(points: list[Point], tmp_path: Path) -> None:
    found = plan(points, tmp_path / "nowhere")
    assert found.to_do == found.jobs
    assert found.done == []


def test_finished_runs_are_those_that_are_complete(points: list[Point], tmp_path: Path) -> None:
    place = tmp_path / "agents"
    seeds = [repeat.seed for repeat in points[0].repeats]
    finish(place, points[0], seeds[0])
    finish(place, points[0], seeds[1], interrupted=True)
    crashed = finish(place, points[1], points[1].repeats[0].seed)
    (crashed / layout.RUN).unlink()  # as a crash leaves it: run.json is written last
    finish(place, points[2], 12345)  # a seed that nobody asked for
    found = plan(points, place)
    assert len(found.jobs) - len(found.to_do) == 1
    assert found.done == [(20.0, 20.0)]
    assert found.to_do[0].point is points[1]
    shown = found.lines()
    assert shown[0] == "done   agents=8, duration=10s, repeat 1"
    assert shown[1] == "to do  agents=8, duration=20s, repeat 1"
    assert [run["finished"] for run in found.as_json({})["runs"]].count(True) == 1


def test_unfaithful_runs_are_finished_unless_they_are_to_be_made_again(
    points: list[Point], tmp_path: Path
) -> None:
    place = tmp_path / "agents"
    seed = points[0].repeats[0].seed
    finish(place, points[0], seed, ok=False)
    assert len(plan(points, place).done) == 1
    assert plan(points, place, retry_unfaithful=True).done == []
    finish(place, points[0], seed)
    assert len(plan(points, place, retry_unfaithful=True).done) == 1


def test_a_sweep_that_runs_is_not_run_twice(points: list[Point], tmp_path: Path) -> None:
    asked, _ = grid.load(tmp_path / "sweep.yaml")
    place = tmp_path / "agents"
    place.mkdir()
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ConflictError, match="being run already"):
            sweep.run(asked, points, tmp_path, [], lambda _: None, lambda _: None)


def test_points_that_cannot_be_carried_are_named_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(
        SWEEP.replace("[8, 16]", "[8]").replace("duration: [10s, 20s]", "scale.rate: [10, 2000]")
    )
    asked, points = grid.load(tmp_path / "sweep.yaml")
    with pytest.raises(CapacityError, match=r"1 of 2 points \(agents=8, rate=10\)"):
        sweep.run(asked, points, tmp_path, [], lambda _: None, lambda _: None)
    assert list((tmp_path / "agents").glob("*/*")) == []


def test_a_finished_sweep_runs_nothing(points: list[Point], tmp_path: Path) -> None:
    asked, _ = grid.load(tmp_path / "sweep.yaml")
    place = tmp_path / "agents"
    for point in points:
        for repeat in point.repeats:
            finish(place, point, repeat.seed)
    told: list[Mapping[str, object]] = []
    done = sweep.run(
        asked, points, tmp_path, [], lambda _: None, lambda s: told.append(s._asdict())
    )
    assert (done.failed, told) == ({}, [])
    assert (place / layout.SWEEP).is_file()
    assert all((place / point.directory / layout.SET).is_file() for point in points)
    assert (tmp_path / "latest").resolve() == place


# --- runs that fail, and the end by Ctrl-C -----------------------------------------------------


def ends_with(monkeypatch: pytest.MonkeyPatch, ends: dict[int, BaseException]) -> list[str]:
    """Let the runs of a sweep end by errors (by their number from 0), or be written as complete."""
    made: list[str] = []

    def instead(asked: Asked, one: Repeat, path: Path, *_: object) -> SimpleNamespace:
        number = len(made)
        made.append(path.name)
        if number in ends:
            raise ends[number]
        run = make_run(path / f"2026-{number}", {"pe-only": {}}, seed=one.seed)
        return SimpleNamespace(path=run, ran=SimpleNamespace(interrupted=False), unwritten=())

    monkeypatch.setattr(repeats, "run_one", instead)
    return made


def test_a_run_that_fails_does_not_end_the_sweep_and_is_made_again(
    points: list[Point], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, _ = grid.load(tmp_path / "sweep.yaml")
    made = ends_with(monkeypatch, {1: ProgramError("pe0 died")})
    done = sweep.run(asked, points, tmp_path, [], lambda _: None, lambda _: None)
    assert len(made) == 12
    assert list(done.failed) == ["agents=8, duration=20s, repeat 1"]
    told: list[Status] = []
    again = sweep.run(asked, points, tmp_path, [], lambda _: None, told.append)
    assert again.failed == {}
    assert made[12:] == [points[1].directory]
    (status,) = told
    assert (status.done, status.total) == (11, 12)
    # 6 runs of weight 20 and 5 of weight 40 took 20 s each; one of weight 40 is left.
    assert status.left_s == pytest.approx(11 * 20 / (6 * 20 + 5 * 40) * 40)


def test_ctrl_c_says_how_much_is_complete(
    points: list[Point], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, _ = grid.load(tmp_path / "sweep.yaml")
    ends_with(monkeypatch, {0: ProgramError("pe0 died"), 3: KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt) as ended:
        sweep.run(asked, points, tmp_path, [], lambda _: None, lambda _: None)
    assert "2 of 12 runs of the sweep" in ended.value.__notes__[0]
    with (tmp_path / "agents" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # given back


def test_the_pages_name_every_key_of_set_and_sweep(points: list[Point], tmp_path: Path) -> None:
    asked, _ = grid.load(tmp_path / "sweep.yaml")
    for point in points:
        for repeat in point.repeats:
            finish(tmp_path / "agents", point, repeat.seed)
    sweep.run(asked, points, tmp_path, [], lambda _: None, lambda _: None)
    page = (Path(__file__).parents[3] / "docs" / "run-directory.md").read_text()
    described = set(re.findall(r"`(\w+)`", page.partition("## set.json and sweep.json")[2]))
    for file in (layout.SWEEP, f"{points[0].directory}/{layout.SET}"):
        document = json.loads((tmp_path / "agents" / file).read_text())
        assert set(document) <= described
        for inner in document["points" if file == layout.SWEEP else "repeats"]:
            assert set(inner) <= described
