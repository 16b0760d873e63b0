from __future__ import annotations

from pathlib import Path

import pytest

from testbed.errors import NotFoundError, ScenarioError
from testbed.experiment.grid import combinations, directory_of, label, load

SWEEP = """\
name: agents
scenario: demo
set: {duration: 12s, workload.trace: 32k}
grid:
  workload.agents: [8, 16]
  arbitration: [fair, fifo]
repeats: 3
"""


def written(path: Path, text: str = SWEEP) -> Path:
    file = path / "sweep.yaml"
    file.write_text(text)
    return file


def test_a_grid_is_every_combination() -> None:
    assert combinations({"a": [1, 2], "b": ["x", "y"]}) == [
        {"a": 1, "b": "x"}, {"a": 1, "b": "y"}, {"a": 2, "b": "x"}, {"a": 2, "b": "y"},
    ]  # fmt: skip


def test_points_are_named_after_their_values() -> None:
    assert label({"workload.agents": 8, "arbitration": "fair"}) == "agents=8, arbitration=fair"
    assert label({"cluster.cnic": "1Gbit", "other.cnic": None}) == (
        "cluster.cnic=1Gbit, other.cnic=null"
    )


def test_a_directory_follows_from_the_whole_scenario_but_its_name() -> None:
    values = {"policies": ["mine.py:Own", "pe-only"]}
    scenario = {"name": "a", "seed": 1, "x": {"b": 1, "a": 2}}
    name = directory_of(values, scenario)
    assert name.startswith("policies=-mine.py-Own-,-pe-only-")
    assert "/" not in name and len(name) < 80
    assert directory_of(values, {**scenario, "name": "b", "description": "other"}) == name
    assert directory_of(values, {"x": {"a": 2, "b": 1}, "seed": 1, "name": "a"}) == name
    assert directory_of(values, {**scenario, "seed": 2}) != name


def test_a_sweep_file_becomes_points_with_scenarios_of_their_own(tmp_path: Path) -> None:
    asked, points = load(written(tmp_path))
    assert asked.name == "agents"
    assert [point.label for point in points] == [
        "agents=8, arbitration=fair", "agents=8, arbitration=fifo",
        "agents=16, arbitration=fair", "agents=16, arbitration=fifo",
    ]  # fmt: skip
    scenarios = [point.asked.scenario for point in points]
    assert [scenario.arbitration for scenario in scenarios] == ["fair", "fifo"] * 2
    assert {scenario.duration for scenario in scenarios} == {12.0}
    assert all(len(point.repeats) == 3 for point in points)
    assert points[0].repeats[1].order == ("shorter-queue", "pe-only")
    assert len({point.directory for point in points}) == 4


def test_points_keep_their_directories_when_the_grid_grows(tmp_path: Path) -> None:
    _, before = load(written(tmp_path))
    _, after = load(written(tmp_path, SWEEP.replace("[8, 16]", "[4, 8, 16]")))
    assert {point.directory for point in before} < {point.directory for point in after}


def test_a_sweep_file_that_there_is_not_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no sweep file .*nothing\.yaml"):
        load(tmp_path / "nothing.yaml")


def test_a_scenario_file_is_looked_for_beside_the_sweep_file(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine\ntopology: {name: 1p1d}\nduration: 1s\n")
    text = "name: s\nscenario: mine.yaml\ngrid: {seed: [1, 2]}\n"
    _, points = load(written(tmp_path, text))
    assert [point.asked.scenario.name for point in points] == ["mine", "mine"]
    with pytest.raises(NotFoundError, match=r"no scenario file .*other\.yaml"):
        load(written(tmp_path, text.replace("mine", "other")))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("grid:", "gird:"), r"sweep\.yaml:4: gird: unknown key.*grid"),
        (("[8, 16]", "8"), r"sweep\.yaml:5: grid\.workload\.agents: 8 is one value; .* \[8\]"),
        (("\n  workload.agents: [8, 16]\n  arbitration: [fair, fifo]", " {}"), "it has no keys"),
        (("[8, 16]", "[]"), r"workload\.agents has no values"),
        (("[8, 16]", "[8, 8]"), r"workload\.agents has a value twice"),
        (("repeats: 3", "repeats: 0"), r"sweep\.yaml:7: repeats"),
        (("name: agents", "name: Agents!"), r"sweep\.yaml:1: name"),
        (("workload.trace: 32k", "arbitration: fair"), "arbitration: in `set` and in `grid`"),
        (("[fair, fifo]", "[fair, foul]"), r"point agents=8, arbitration=foul: .*arbitration"),
        (("repeats: 3", "figure: {x: agents}"), r"sweep\.yaml:7: figure\.x: .* 'agents'"),
        (("workload.agents: [8, 16]", "description: [a, b]"), "are the same scenario"),
        (("duration: 12s", "scale: auto"), "a scale of its own"),
        (("arbitration: [fair, fifo]", "scale: [auto]"), "a scale of its own"),
    ],
)
def test_what_is_wrong_with_a_sweep_is_said(
    change: tuple[str, str], said: str, tmp_path: Path
) -> None:
    file = written(tmp_path, SWEEP.replace(*change))
    with pytest.raises(ScenarioError, match=f"(?s){said}"):
        load(file)


def test_a_directory_is_no_sweep_file(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no sweep file"):
        load(tmp_path)


def test_a_scenario_whose_scale_is_chosen_needs_one_for_all_points(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "name: mine\ntopology: {name: 1p1d}\nduration: 9s\nscale: auto\n"
    )
    text = "name: s\nscenario: mine.yaml\ngrid: {seed: [1, 2]}\n"
    with pytest.raises(ScenarioError, match=r"a scale of its own(?s:.*)predict mine.yaml"):
        load(written(tmp_path, text))
    _, points = load(written(tmp_path, text + "set: {scale: {rate: 4000, bytes: 2000}}\n"))
    assert {point.asked.scenario.scale.rate for point in points} == {4000}


def test_the_example_is_a_sweep_over_sizes_of_caches() -> None:
    example = Path(__file__).parents[3] / "scripts" / "examples" / "cache_sizes.yaml"
    _, points = load(example)
    assert [point.asked.scenario.model_dump()["cache"]["capacity"] for point in points] == [
        "1926MB", "3852MB", "9630MB", "19260MB", "38520MB", "77040MB",
    ]  # fmt: skip
