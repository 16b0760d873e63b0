from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from testbed.errors import ConflictError, NotFoundError, UsageError
from testbed.results.layout import (
    LATEST,
    RUN,
    all_runs,
    check_writable,
    find_run,
    mark_latest,
    new_run,
)


def complete(out: Path, name: str) -> Path:
    path = out / name
    path.mkdir(parents=True)
    (path / RUN).write_text("{}")
    return path


def test_runs_of_one_second_get_directories_of_their_own(tmp_path: Path) -> None:
    made = {new_run(tmp_path / "runs", "demo") for _ in range(3)}
    assert len(made) == 3
    assert all(path.is_dir() and "-demo" in path.name for path in made)


def test_a_file_in_the_place_of_the_runs_is_said(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    with pytest.raises(ConflictError, match="not a directory"):
        new_run(tmp_path / "runs", "demo")


@pytest.mark.parametrize("out", ["/proc/nope", "/dev/null/runs"])
def test_a_place_where_no_directory_can_be_made_is_said(out: str) -> None:
    with pytest.raises((UsageError, ConflictError), match=out) as refusal:
        new_run(Path(out), "demo")
    assert "--out" in refusal.value.hint


def test_a_directory_of_somebody_elses_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)  # root may write anywhere
    with pytest.raises(UsageError, match="runs for the run cannot be made: Permission denied"):
        new_run(tmp_path / "runs", "demo")


def test_latest_is_the_run_that_was_completed_last(tmp_path: Path) -> None:
    older, newer = complete(tmp_path, "20250101-a"), complete(tmp_path, "20250102-b")
    assert find_run(LATEST, tmp_path) == newer
    mark_latest(newer)
    mark_latest(older)
    assert find_run(LATEST, tmp_path) == older
    assert (tmp_path / LATEST).readlink() == Path(older.name)
    assert all_runs(tmp_path) == [older, newer]


def test_something_of_the_users_called_latest_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / LATEST).mkdir()
    with pytest.raises(ConflictError, match="latest"):
        mark_latest(complete(tmp_path, "20250101-a"))
    assert (tmp_path / LATEST).is_dir()


@pytest.mark.parametrize("name", ["20250101-120000-demo", "20250101", "-demo", "demo"])
def test_a_run_is_found_by_its_name_or_an_end_of_it(tmp_path: Path, name: str) -> None:
    run = complete(tmp_path, "20250101-120000-demo")
    complete(tmp_path, "20250202-120000-2p4d")
    assert find_run(name, tmp_path) == run


def test_a_run_is_found_by_its_path(tmp_path: Path) -> None:
    run = complete(tmp_path / "elsewhere", "mine")
    assert find_run(str(run), tmp_path / "runs") == run


def test_several_matches_are_named(tmp_path: Path) -> None:
    complete(tmp_path, "20250101-demo")
    complete(tmp_path, "20250102-demo")
    with pytest.raises(NotFoundError, match=r"2 runs match.*20250101-demo, 20250102-demo"):
        find_run("demo", tmp_path)


def test_a_misspelt_run_gets_near_names(tmp_path: Path) -> None:
    complete(tmp_path, "20250101-120000-demo")
    with pytest.raises(NotFoundError) as raised:
        find_run("20250101-120000-deno", tmp_path)
    assert "20250101-120000-demo" in raised.value.hint


@pytest.mark.parametrize("name", [LATEST, "demo"])
def test_without_runs_the_next_step_is_said(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotFoundError) as raised:
        find_run(name, tmp_path / "runs")
    assert "testbed run demo" in raised.value.hint


@pytest.mark.parametrize("name", ["20250101-demo", LATEST])
def test_a_run_that_did_not_end_is_not_found_and_its_logs_are_named(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "20250101-demo" / "logs").mkdir(parents=True)
    with pytest.raises(NotFoundError, match="20250101-demo is not complete") as raised:
        find_run(name, tmp_path)
    assert "logs" in raised.value.hint


def test_where_nothing_can_be_written_is_said_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_writable(tmp_path / "to" / "be" / "made")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(ConflictError, match="is not a directory"):
        check_writable(tmp_path / "file" / "runs")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(UsageError, match="runs for the run cannot be made: Permission denied"):
        check_writable(tmp_path / "runs")
