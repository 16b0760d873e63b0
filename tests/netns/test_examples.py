"""What is there to begin one's own from does what it says: scripts, and docs/lab.md."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "lab.md").read_text()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory, and a registry of testbeds in which none is left."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    with tempfile.TemporaryDirectory(prefix="tb-") as short:  # it is part of a socket's path
        monkeypatch.setenv("XDG_RUNTIME_DIR", short)
        yield tmp_path
        cli("down", "--all")


def cli(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "testbed.cli.main", *words],
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip


def shell_lines(page: str) -> list[list[str]]:
    """The commands of all indented blocks, without their remarks."""
    lines = re.findall(r"^    (testbed .*)$", page, re.MULTILINE)
    return [shlex.split(line, comments=True)[1:] for line in lines]


@pytest.mark.user
def test_the_commands_of_the_page_run_in_their_order(place: Path) -> None:
    commands = shell_lines(PAGE)
    assert {words[0] for words in commands} == {"up", "exec", "shell", "inspect", "down"}
    for words in commands:
        ended = cli(*words)
        assert ended.returncode == 0, (words, ended.stderr)


@pytest.mark.user
def test_the_topo_of_the_page_comes_up(place: Path) -> None:
    block = PAGE[PAGE.index("    # mine.py") :].partition("\n\nIt comes up")[0]
    (place / "mine.py").write_text(textwrap.dedent(block))
    (up,) = re.findall(r"`testbed (up mine.py[^`]*)`", PAGE)
    assert cli(*up.split(), "--name", "x").returncode == 0
    assert cli("exec", "x", "b4", "--", "true").returncode == 0


@pytest.mark.user
def test_the_program_of_the_page_runs(place: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(program, "docs/lab.md", "exec"), names)
    received = names["received"]
    assert isinstance(received, dict)
    assert set(received) == {"h1/h1-eth0", "h2/h2-eth0", "h3/h3-eth0"}


def test_two_lanes_share_a_cnic_as_the_script_says() -> None:
    ended = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "examples" / "two_lanes.py")],
        capture_output=True, text=True, check=True, timeout=120,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    rates = re.findall(r"(.+): KV ([\d.]+) Mbit/s, collective ([\d.]+) Mbit/s", ended.stdout)
    shares = {name: float(kv) / float(model) for name, kv, model in rates}
    assert shares["two lanes"] < 0.1
    assert 0.8 < shares["one lane"] < 1.25
    counters = [line.split() for line in ended.stdout.partition("CNIC")[2].splitlines()[1:]]
    assert len(counters) == 4
    assert all(drops == "0" for *_, drops in counters)
