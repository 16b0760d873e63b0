"""A report that cannot be written, for real reasons: what it is of stays, and is told."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from testbed.cli import report
from testbed.errors import ReportError, TestbedError
from testbed.report import attempt
from testbed.report.page import write_report
from testbed.report.several import write_set
from testbed.results import layout
from testbed.results.load import load
from testbed.results.sets import load_set
from tests.unit.report import synthetic
from tests.unit.results.made import make_set
from tests.unit.results.test_compare import six


def in_the_way(path: Path) -> None:
    """A file where the directory of figures should be."""
    (path / layout.FIGURES).write_text("mine")


def full(path: Path) -> None:
    """Nothing can be written to the page: see full(4)."""
    (path / f".{layout.REPORT}.part").symlink_to("/dev/full")


def cut_short(path: Path) -> None:
    """A table that ends in its middle."""
    table = layout.table_path(path, "nics")
    table.write_bytes(table.read_bytes()[:-200])


CAUSES = pytest.mark.parametrize(
    ("spoil", "why", "status"),
    [(in_the_way, "File exists", 2), (full, "is full", 8), (cut_short, "cannot be read", 5)],
    ids=["in the way", "full", "cut short"],
)


@pytest.fixture
def complete(tmp_path: Path) -> Path:
    return synthetic.write(tmp_path / "run", believed=True)


def digests(path: Path) -> dict[str, str]:
    kept = [file for file in path.rglob("*") if file.is_file() and not file.is_symlink()]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in kept}


@CAUSES
def test_the_run_stays_and_a_line_says_why_and_what_to_do(
    complete: Path, spoil: Callable[[Path], None], why: str, status: int
) -> None:
    spoil(complete)
    before = digests(complete)
    failed = attempt.attempt(lambda: write_report(complete), complete)
    assert failed is not None and (failed.exit_status, failed.kind) == (13, "report")
    assert failed.message.startswith(f"the report of {complete} was not written: ")
    assert why in failed.message and "\n" not in failed.message
    assert failed.hint.endswith(f"testbed report {complete}")
    assert before.items() <= digests(complete).items(), "nothing of the run has changed"
    assert load(complete).verdict.status == "PASS"
    assert not (complete / layout.REPORT).exists(), "no half of a page"
    assert not list(complete.glob(".*.part"))


@CAUSES
def test_the_command_that_writes_it_again_says_the_same(
    complete: Path, spoil: Callable[[Path], None], why: str, status: int
) -> None:
    spoil(complete)
    found = CliRunner().invoke(report.command, [str(complete)])
    assert found.exit_code == status, found.output
    assert why in found.output
    assert "Traceback" not in found.output


def test_the_page_that_was_there_stays(complete: Path) -> None:
    page = write_report(complete)
    before = page.read_bytes()
    full(complete)
    assert attempt.attempt(lambda: write_report(complete), complete) is not None
    assert page.read_bytes() == before


def test_a_set_loses_its_page_only(tmp_path: Path) -> None:
    path = make_set(tmp_path / "set", six())
    in_the_way(path)
    failed = attempt.attempt(lambda: write_set(path), path)
    assert failed is not None and "File exists" in failed.message
    assert len(load_set(path).runs) == 6


def test_a_defect_is_told_by_its_kind(tmp_path: Path) -> None:
    failed = attempt.attempt(lambda: 1 // 0, tmp_path)
    assert failed is not None and "ZeroDivisionError" in failed.message


def test_all_written_is_nothing_to_tell(tmp_path: Path) -> None:
    assert attempt.attempt(lambda: None, tmp_path) is None
    attempt.judge(())


def test_of_several_the_first_is_the_error_and_the_others_its_notes() -> None:
    errors = [ReportError(name, hint="again") for name in "abc"]
    with pytest.raises(ReportError, match="a") as failure:
        attempt.judge(errors)
    assert failure.value.__notes__ == ["b\nagain", "c\nagain"]
    worse = TestbedError("worse")
    attempt.tell(worse, errors[2:])
    assert worse.__notes__ == ["c\nagain"]
