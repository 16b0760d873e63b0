"""How the tests are run: layers summed up, unlisted skips refused, fixtures shared."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from scripts.tools.run_layers import counts, summary

TESTS = Path(__file__).resolve().parents[1]
SKIPPING = """\
import pytest

def test_listed(): pytest.skip("no such kernel")

def test_unlisted(): pytest.skip("no such kernel")

@pytest.mark.parametrize("x", [1, 2])
def test_listed_with_parameters(x): pytest.skip("no such kernel")

@pytest.mark.xfail(reason="known", strict=True)
def test_expected_to_fail(): assert False

def test_fine(): pass
"""
LISTED = """\
# comment
tests/unit/test_it.py::test_listed | needs a kernel that has it
tests/unit/test_it.py::test_listed_with_parameters | the same
"""

GROUPED = """\
from pathlib import Path
import pytest

pytestmark = pytest.mark.xdist_group("dear")

@pytest.fixture(scope="module")
def dear():
    with Path("made.txt").open("a") as file:
        print("made", file=file)

@pytest.mark.parametrize("x", range(6))
def test_it(x, dear): pass
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with our rules and a few tests."""
    unit = tmp_path / "tests" / "unit"
    unit.mkdir(parents=True)
    shutil.copy(TESTS / "conftest.py", tmp_path / "tests")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    netns: x\n")
    (tmp_path / "tests" / "allowed_skips.txt").write_text(LISTED)
    (unit / "test_it.py").write_text(SKIPPING)
    return tmp_path


def run(checkout: Path, *arguments: str) -> tuple[int, list[str]]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    ended = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    return ended.returncode, (ended.stderr + ended.stdout).splitlines()


@pytest.mark.parametrize("parallel", [[], ["-n", "1"]])
def test_a_skip_that_is_not_listed_fails_the_run(checkout: Path, parallel: list[str]) -> None:
    status, lines = run(checkout, "--strict-skips", *parallel)
    assert status == 1
    assert lines[-1].startswith("1 failed, 1 passed, 3 skipped, 1 xfailed")
    assert any("test_unlisted may not be skipped" in line for line in lines)


def test_a_module_that_skips_itself_fails_the_run(checkout: Path) -> None:
    module = checkout / "tests" / "unit" / "test_other.py"
    module.write_text("import pytest\npytest.skip('no', allow_module_level=True)\n")
    status, lines = run(checkout, "--strict-skips", str(module))
    assert status != 0
    assert any("test_other.py may not be skipped" in line for line in lines)


def test_without_the_option_a_skip_is_a_skip(checkout: Path) -> None:
    status, lines = run(checkout)
    assert status == 0
    assert lines[-1].startswith("1 passed, 4 skipped, 1 xfailed")


def test_an_entry_without_a_reason_is_refused(checkout: Path) -> None:
    (checkout / "tests" / "allowed_skips.txt").write_text("tests/unit/test_it.py\n")
    status, lines = run(checkout, "--strict-skips")
    assert status != 0
    assert any("gives no reason" in line for line in lines)


def test_the_sum_counts_what_pytest_counted(checkout: Path) -> None:
    report = checkout / "report.xml"
    run(checkout, "--strict-skips", f"--junit-xml={report}")
    # JUnit has no word for an expected failure: it counts as skipped.
    assert counts(report) == Counter(failed=1, passed=1, skipped=4, errors=0)


def test_a_layer_that_did_not_come_to_its_end_is_an_error(tmp_path: Path) -> None:
    assert counts(tmp_path / "missing.xml") == Counter(errors=1)


def test_the_last_line_reads_like_pytests_own() -> None:
    total = Counter(failed=1, passed=811, skipped=2, errors=1)
    assert summary(total, 12.3).strip("= ") == "1 failed, 811 passed, 2 skipped, 1 error in 12.30s"
    assert summary(Counter(passed=3), 245).strip("= ") == "3 passed in 245.00s (0:04:05)"


def test_those_who_share_a_fixture_run_in_one_process(checkout: Path) -> None:
    for name in ("one", "two"):
        (checkout / "tests" / "unit" / f"test_{name}.py").write_text(GROUPED.replace("dear", name))
    (checkout / "tests" / "unit" / "test_it.py").unlink()
    status, lines = run(checkout, "-n", "3", "--dist", "loadgroup")
    assert status == 0, lines
    assert lines[-1].startswith("12 passed")
    assert (checkout / "made.txt").read_text().splitlines() == ["made"] * 2
