"""What all layers share: markers by directory, who shares fixtures, skips, the built wheel."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadGroupScheduling

ROOT = Path(__file__).resolve().parent.parent
ALLOWED_SKIPS = Path(__file__).with_name("allowed_skips.txt")
ALLOWED = pytest.StashKey[frozenset[str]]()

# numpy's pool of threads is of no use to the tests, and a process with threads must not fork.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Speed is measured in benchmarks; a slow machine is no reason for a property to fail.
hypothesis.settings.register_profile("testbed", deadline=None, database=None)
hypothesis.settings.load_profile("testbed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--strict-skips",
        action="store_true",
        help="a skip that tests/allowed_skips.txt does not list is a failure",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ALLOWED] = _allowed_skips()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        layer = item.path.relative_to(ROOT / "tests").parts[0]
        if layer in ("netns", "e2e", "soak"):
            item.add_marker(layer)


# --- tests side by side -------------------------------------------------------------------------

_GROUP = re.compile(r"^pytestmark = pytest\.mark\.xdist_group\((.*?)\)", re.MULTILINE)


class _ByGroups(LoadGroupScheduling):
    """`--dist loadgroup` by what files say.

    Since pytest 9.2 the names by which pytest-xdist (3.8) passes groups on are lost: every process
    makes the fixtures anew that a group is to share, and nobody is told.
    """

    def _split_scope(self, nodeid: str) -> str:
        group = _group_of(self.config.rootpath / nodeid.partition("::")[0])
        return group or super()._split_scope(nodeid)


@functools.cache
def _group_of(file: Path) -> str | None:
    found = _GROUP.search(file.read_text())
    return found[1] if found else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _ByGroups | None:
    return _ByGroups(config, log) if config.getvalue("dist") == "loadgroup" else None


# --- skips -------------------------------------------------------------------------------------


def _allowed_skips() -> frozenset[str]:
    """The tests, classes and files that may be skipped; each has to say why."""
    allowed = set()
    for line in ALLOWED_SKIPS.read_text().splitlines():
        if entry := line.partition("#")[0].strip():
            what, _, why = (part.strip() for part in entry.partition("|"))
            if not why:
                raise pytest.UsageError(f"{ALLOWED_SKIPS.name}: {line!r} gives no reason")
            allowed.add(what)
    return frozenset(allowed)


def _may_skip(node_id: str, allowed: frozenset[str]) -> bool:
    # Neither parameters nor groups (`test[x]@group`) are listed one by one.
    parts = node_id.partition("[")[0].partition("@")[0].split("::")
    return any("::".join(parts[:length]) in allowed for length in range(1, len(parts) + 1))


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport, config: pytest.Config) -> None:
    if not (report.skipped and config.getoption("--strict-skips")):
        return
    if hasattr(report, "wasxfail") or _may_skip(report.nodeid, config.stash[ALLOWED]):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    report.outcome = "failed"
    report.longrepr = (
        f"{reason}\n{report.nodeid} may not be skipped: {ALLOWED_SKIPS.name} does not list it"
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _refuse_skip(report, item.config)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse_skip(report, collector.config)
    return report


# --- testbeds ----------------------------------------------------------------------------------


@pytest.fixture
def runtime_directory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place of a test's own where testbeds register, which must be empty in the end."""
    base = tempfile.mkdtemp(prefix="tb-")  # short: it is part of a socket's path
    monkeypatch.setenv("XDG_RUNTIME_DIR", base)
    registered = Path(base) / "testbed"
    yield registered
    left = list(registered.iterdir()) if registered.exists() else []
    shutil.rmtree(base)
    assert left == []


# --- the distribution --------------------------------------------------------------------------


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built without a network from a copy of the checkout.

    A copy, because setuptools packs what an earlier build left behind; and with all of it,
    because what must not be packed has to be there to be left out.
    """
    place = tmp_path_factory.mktemp("wheel")
    caches = shutil.ignore_patterns(
        ".git", ".venv", "runs", "build", "dist", "*.egg-info", "__pycache__", ".*_cache"
    )
    shutil.copytree(ROOT, place / "checkout", ignore=caches)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(place)]
    built = subprocess.run(
        [*command, str(place / "checkout")], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (found,) = place.glob("*.whl")
    return found
