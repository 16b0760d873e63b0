"""Workload plug-ins and shipped scenarios, by a small distribution of our own."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.errors import ConflictError, NotFoundError, ScenarioError
from testbed.experiment.document import Source, parse
from testbed.experiment.plugins import (
    find_scenario,
    load_plugin,
    plugin_of,
    plugins,
    shipped_scenarios,
)


def install(place: Path, distribution: str, package: str, workload: str = "ping") -> None:
    """What pip would leave behind of a package with a workload and a scenario."""
    info = place / f"{distribution}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[testbed.workloads]\n{workload} = {package}.workload:Ping\n"
    )
    scenarios = place / package / "scenarios"
    scenarios.mkdir(parents=True)
    (place / package / "__init__.py").touch()
    (place / package / "workload.py").write_text("class Ping: ...\n")
    (scenarios / "ping-pong.yaml").write_text(
        "name: ping-pong\nplugin: ping\ndescription: two hosts,\n  back and forth\n"
    )
    (scenarios / "notes.txt").write_text("not a scenario")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    install(tmp_path, "pingbed", "pingbed_agents")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("pingbed_agents")]:
        del sys.modules[name]


@pytest.mark.usefixtures("installed")
def test_an_installed_workload_is_found_and_imported() -> None:
    assert plugins()["ping"].value == "pingbed_agents.workload:Ping"
    assert getattr(load_plugin("ping"), "__name__", "") == "Ping"


@pytest.mark.usefixtures("installed")
def test_an_unknown_workload_gets_the_one_that_was_meant() -> None:
    with pytest.raises(NotFoundError, match=r"did you mean ping\?"):
        load_plugin("pingg")


def test_a_workload_that_cannot_be_imported_is_a_conflict(installed: Path) -> None:
    """As when another distribution has a package in the place of one of its modules."""
    (installed / "pingbed_agents" / "workload").mkdir()
    (installed / "pingbed_agents" / "workload" / "__init__.py").touch()
    with pytest.raises(ConflictError, match="'ping' of pingbed cannot be imported") as refusal:
        load_plugin("ping")
    assert "'pingbed_agents'" in refusal.value.hint


def test_a_workload_whose_package_is_gone_is_a_conflict(installed: Path) -> None:
    shutil.rmtree(installed / "pingbed_agents")
    with pytest.raises(ConflictError, match="cannot be imported"):
        shipped_scenarios()


def test_two_workloads_of_one_name_are_a_conflict(installed: Path) -> None:
    install(installed, "otherbed", "otherbed_agents")
    importlib.invalidate_caches()
    with pytest.raises(ConflictError, match="two packages provide a workload 'ping'"):
        plugins()


@pytest.mark.usefixtures("installed")
def test_scenarios_that_come_with_a_workload_are_listed_with_their_description() -> None:
    (shipped,) = (scenario for scenario in shipped_scenarios() if scenario.plugin == "ping")
    assert shipped.name == "ping-pong"
    assert shipped.description == "two hosts, back and forth"
    assert shipped.document.content["plugin"] == "ping"


def test_two_scenarios_of_one_name_are_a_conflict(installed: Path) -> None:
    install(installed, "otherbed", "otherbed_agents", workload="pong")
    importlib.invalidate_caches()
    with pytest.raises(ConflictError, match="both ship a scenario 'ping-pong'"):
        shipped_scenarios()


@pytest.mark.usefixtures("installed")
def test_a_scenario_is_found_by_name_or_by_path(tmp_path: Path) -> None:
    assert find_scenario("ping-pong").text.startswith("name: ping-pong")
    mine = tmp_path / "mine.yaml"
    mine.write_text("name: mine\n")
    assert find_scenario(str(mine)) == Source(str(mine), "name: mine\n")


@pytest.mark.usefixtures("installed")
def test_a_scenario_that_is_not_there_gets_the_one_that_was_meant(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"did you mean ping-pong\?"):
        find_scenario("pingpong")
    with pytest.raises(NotFoundError, match="no scenario file"):
        find_scenario(str(tmp_path / "ping-pong"))


def test_a_scenario_says_which_workload_it_is_for() -> None:
    assert plugin_of(parse(Source("x", "plugin: ping\n")), default="dualpath") == "ping"
    assert plugin_of(parse(Source("x", "name: a\n")), default="dualpath") == "dualpath"
    with pytest.raises(ScenarioError, match="x:2: plugin: 3 is not the name"):
        plugin_of(parse(Source("x", "name: a\nplugin: 3\n")), default="dualpath")
