"""Verbs of installed packages, by small distributions of our own."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from testbed.cli import main as cli
from testbed.cli.plugged import plugged_verbs
from testbed.errors import ConflictError

GREETS = 'VERBS = {"greet": ("greetbed.greet", "Say hello.")}\n'
COMMAND = """
import click

@click.command("greet")
def command() -> None:
    '''Say hello.'''
    click.echo("hello")
"""
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """What pip would leave behind of a package with a table of verbs."""

    packages = []

    def installed(package: str, table: str) -> None:
        packages.append(package)
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[testbed.verbs]\n{package} = {package}:VERBS\n")
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(table)
        (tmp_path / package / "greet.py").write_text(COMMAND)
        importlib.invalidate_caches()

    monkeypatch.syspath_prepend(tmp_path)
    yield installed
    for name in [name for name in sys.modules if name.partition(".")[0] in packages]:
        del sys.modules[name]


def fresh_group() -> click.Group:
    """The command as a new process has it: nothing plugged in is remembered."""
    return cli.LazyGroup("testbed")


def test_a_plugged_verb_is_listed_and_runs(install: Install) -> None:
    install("greetbed", GREETS)
    listed = CliRunner().invoke(fresh_group(), ["--help"])
    assert "greet        Say hello." in listed.output
    ran = CliRunner().invoke(fresh_group(), ["greet"])
    assert (ran.exit_code, ran.output) == (0, "hello\n")


def test_an_unknown_verb_may_have_meant_a_plugged_one(install: Install) -> None:
    install("greetbed", GREETS)
    ran = CliRunner().invoke(fresh_group(), ["greeet"])
    assert ran.exit_code == 2
    assert "did you mean greet?" in ran.output


def test_a_verb_that_the_testbed_has_is_a_conflict(install: Install) -> None:
    install("greetbed", 'VERBS = {"up": ("greetbed.greet", "Say hello.")}\n')
    with pytest.raises(ConflictError, match="'up', and there is one already") as failed:
        plugged_verbs(cli.VERBS)
    assert "'greetbed'" in failed.value.hint


def test_two_packages_with_one_verb_are_a_conflict(install: Install) -> None:
    install("greetbed", GREETS)
    install("otherbed", GREETS)
    with pytest.raises(ConflictError, match="'greet', and there is one already"):
        plugged_verbs(cli.VERBS)


@pytest.mark.parametrize("table", ["import greetbed_lacks_this", "VERBS = {'greet': 1}", ""])
def test_a_table_that_cannot_be_read_is_told_by_its_package(install: Install, table: str) -> None:
    install("greetbed", table)
    with pytest.raises(ConflictError, match=r"verbs of 'greetbed' \(greetbed:VERBS\) cannot"):
        plugged_verbs(cli.VERBS)
