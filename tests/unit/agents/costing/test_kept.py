"""The file of costs: kept, found again, and not taken for another machine's."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from agents.costing import kept
from agents.costing.costs import REFERENCE
from agents.costing.kept import Identity, Kept

HERE = Identity("6.18", "a processor", 2, "0.1.0")


def costs_of(identity: Identity, measured_s: float = 1000.0, **given: float) -> Kept:
    noise = {"other_cores": 0.0, "spread": 0.0} | given
    return Kept(identity, measured_s, REFERENCE, **noise)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return kept.directory()


def test_costs_are_found_again(cache: Path) -> None:
    assert kept.read(HERE, cache) is None
    kept.write(costs_of(HERE), cache)
    assert kept.read(HERE, cache) == costs_of(HERE)
    assert len(list(cache.iterdir())) == 1, "nothing else is left there"


@pytest.mark.parametrize(
    "change", [{"kernel": "6.19"}, {"cpu": "another"}, {"cores": 4}, {"version": "0.2.0"}]
)
def test_another_kernel_processor_or_version_measures_anew(
    cache: Path, change: dict[str, object]
) -> None:
    kept.write(costs_of(HERE), cache)
    assert kept.read(msgspec.structs.replace(HERE, **change), cache) is None


def test_a_broken_file_is_as_good_as_none(cache: Path) -> None:
    kept.write(costs_of(HERE), cache)
    (file,) = cache.iterdir()
    for broken in (b"", b"{", b'{"identity": 1}'):
        file.write_bytes(broken)
        assert kept.read(HERE, cache) is None
    kept.write(costs_of(HERE), cache)
    assert kept.read(HERE, cache) is not None


def test_without_any_the_reference_is_taken_and_said(cache: Path) -> None:
    found = kept.known()
    assert found.costs == REFERENCE
    assert found.figures()["of"] == "reference"
    assert "testbed costs --measure" in found.figures()["why"]


def test_the_age_is_told(cache: Path) -> None:
    kept.write(costs_of(kept.this_machine(), 1000.0), cache)
    found = kept.known(now_s=4600.0)
    assert found.of_this_machine and found.figures()["age_s"] == 3600.0


def test_what_was_measured_on_a_busy_machine_is_not_taken(cache: Path) -> None:
    dear = msgspec.structs.replace(REFERENCE, operation_s=1.0)
    disturbed = costs_of(kept.this_machine(), spread=0.9)
    kept.write(msgspec.structs.replace(disturbed, costs=dear), cache)
    found = kept.known()
    assert found.costs == REFERENCE
    assert "disturbed" in found.figures()["why"]


def test_a_relative_cache_home_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "somewhere")
    assert kept.directory().is_relative_to(Path.home())


def test_what_is_known_is_not_measured_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "measure_now", lambda report: pytest.fail("it was measured"))
    kept.write(costs_of(kept.this_machine()), cache)
    said: list[str] = []
    assert kept.measured_once(said.append).kept is not None
    assert said == []


def test_where_nothing_can_be_kept_the_reference_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file lies where the directory would be."""
    (tmp_path / "cache").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    said: list[str] = []
    found = kept.measured_once(said.append)
    assert found.costs == REFERENCE
    assert "reference machine" in said[-1]
