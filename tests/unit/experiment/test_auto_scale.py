"""`scale: auto`: chosen when a scenario is loaded to be run, and plain numbers from then on."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from testbed.cli.arguments import scaled
from testbed.errors import ScenarioError, UsageError
from testbed.experiment import record
from testbed.experiment.scenario import Scale, Scenario, json_schema, load_scenario

DEMO = Path(str(files("agents"))) / "scenarios" / "demo.yaml"
SMALL = {"workload.agents": "4", "workload.trace": "32k"}


@pytest.fixture(autouse=True)
def nothing_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The costs of the reference machine, whatever has been measured here."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_auto_keeps_the_stretch_of_the_file() -> None:
    found = record.load("demo", {**SMALL, "scale": "auto"})
    assert found.scenario.scale.stretch == pytest.approx(2, rel=1e-3)
    assert found.scenario.scale.rate < 2000, "the demo leaves much of any machine idle"
    assert record.predict(found).refusal is None


def test_a_file_may_say_auto_and_no_more(tmp_path: Path) -> None:
    text = DEMO.read_text().replace("scale: {rate: 2000, bytes: 1000}", "scale: auto")
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    assert "scale: auto" in text
    found = record.load(str(file), SMALL)
    assert found.scenario.scale == record.load("demo", {**SMALL, "scale": "auto"}).scenario.scale
    assert isinstance(found.scenario.model_dump(mode="json")["scale"]["rate"], float)


def test_what_the_machine_cannot_carry_names_the_scale_that_auto_takes() -> None:
    too_large = {**SMALL, "scale.rate": "20", "scale.bytes": "10"}
    refused = record.predict(record.load("demo", too_large))
    assert refused.refusal is not None
    assert refused.as_json()["refusal"]["hint"] == refused.refusal.hint
    auto = record.load("demo", {**SMALL, "scale": "auto"}).scenario.scale
    assert f"scale.rate={auto.rate:g}, scale.bytes={auto.bytes!r}" in refused.refusal.hint
    with pytest.raises(type(refused.refusal)):
        refused.judge()


def test_auto_is_not_a_scale_of_its_own() -> None:
    text = "name: x\ntopology: {name: single}\nduration: 1s\nscale: auto\n"
    with pytest.raises(ScenarioError, match="auto is the largest scale"):
        load_scenario(text, Scenario)
    assert {"const": "auto"} in json_schema(Scenario)["properties"]["scale"]["anyOf"]


@pytest.mark.parametrize("wrong", [{"duration": "10x"}, {"topology.set.gpu": "2"}])
@pytest.mark.parametrize("scale", [{}, {"scale": "auto"}])
def test_what_is_wrong_is_said_before_the_machine_is_measured(
    wrong: dict[str, str], scale: dict[str, str]
) -> None:
    with pytest.raises((ScenarioError, UsageError)):
        record.load("demo", {**SMALL, **scale, **wrong}, measure=pytest.fail)


def test_the_option() -> None:
    assert scaled({"a": "1"}, None) == {"a": "1"}
    assert scaled({"a": "1"}, "auto") == {"a": "1", "scale": "auto"}
    assert scaled({}, "2000,1000") == {"scale.rate": "2000", "scale.bytes": "1000"}
    for wrong in ("2000", "2000,", "large"):
        with pytest.raises(UsageError, match="--scale"):
            scaled({}, wrong)
    with pytest.raises(UsageError, match="both"):
        scaled({"scale.rate": "5"}, "auto")
    assert Scale(2000, 1000).stretch == 2
