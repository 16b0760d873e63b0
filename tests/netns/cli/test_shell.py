"""shell: a terminal that behaves as one, seen from the other side of a pseudo-terminal."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator

import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., subprocess.Popen[str]]
pytestmark = pytest.mark.user
_PATIENCE_S = 30


class Screen:
    """A person at a terminal: types, and waits for what appears."""

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()
        self.seen = ""
        self.resize(24, 80)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Forget what came before the match."""
        while (match := re.search(pattern, self.seen)) is None:
            ready, _, _ = select.select([self.master], [], [], _PATIENCE_S)
            assert ready, f"{pattern!r} did not appear in {self.seen!r}"
            self.seen += os.read(self.master, 65536).decode(errors="replace")
        self.seen = self.seen[match.end() :]
        return match

    def attributes(self) -> list[object]:
        return termios.tcgetattr(self.slave)


@pytest.fixture
def screen() -> Iterator[Screen]:
    made = Screen()
    yield made
    os.close(made.master)
    os.close(made.slave)


@pytest.fixture
def shell(
    single: str, environment: dict[str, str], screen: Screen
) -> Iterator[subprocess.Popen[bytes]]:
    """A shell on h1 that has shown its prompt: h1 ── s1 ── h2."""
    before = screen.attributes()
    process = subprocess.Popen(
        [sys.executable, "-m", "testbed.cli.main", "shell", single, "h1"],
        env={**environment, "SHELL": "/bin/sh", "PS1": "prompt> ", "ENV": ""},
        stdin=screen.slave,
        stdout=screen.slave,
        stderr=screen.slave,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    screen.wait_for("prompt> ")
    yield process
    if process.poll() is None:
        process.kill()
    process.wait()
    assert screen.attributes() == before


def test_it_is_on_the_node_and_on_a_terminal(
    shell: subprocess.Popen[bytes], screen: Screen
) -> None:
    screen.type("hostname; test -t 0 && echo on a tty; stty size\n")
    screen.wait_for("\r\nh1\r\non a tty\r\n24 80\r\n")
    screen.type("exit 5\n")
    assert shell.wait(_PATIENCE_S) == 5


def test_control_c_ends_the_program_not_the_shell(
    shell: subprocess.Popen[bytes], screen: Screen
) -> None:
    screen.type("cat\nheard\n")
    # Once echoed, once by cat: it runs.  A key before that, dash itself may lose.
    screen.wait_for("heard\r\n(.*\r\n)*heard\r\n")
    screen.type("\x03")
    screen.wait_for("prompt> ")
    screen.type("echo status $?\n")
    screen.wait_for("status 130")
    screen.type("\x04")  # end of file at the prompt
    assert shell.wait(_PATIENCE_S) == 0


def test_a_resize_reaches_the_programs(shell: subprocess.Popen[bytes], screen: Screen) -> None:
    screen.type("trap 'stty size' WINCH; echo re''ady\n")
    screen.wait_for("ready")
    screen.resize(33, 101)
    screen.type("\n")  # dash runs a trap when a command ends
    screen.wait_for("33 101")
    screen.type("exit\n")
    assert shell.wait(_PATIENCE_S) == 0


def test_the_terminal_is_restored_when_the_testbed_ends(
    testbed: Command, environment: dict[str, str], screen: Screen
) -> None:
    before = screen.attributes()
    assert testbed("up", "single", "--name", "brief").returncode == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "testbed.cli.main", "shell", "brief", "h1"],
        env={**environment, "SHELL": "/bin/sh", "PS1": "prompt> "},
        stdin=screen.slave,
        stdout=screen.slave,
        stderr=screen.slave,
        start_new_session=True,
    )
    screen.wait_for("prompt> ")
    assert testbed("down", "brief").returncode == 0
    screen.wait_for("the testbed ended")
    assert process.wait(_PATIENCE_S) == 11
    assert screen.attributes() == before


def test_without_a_terminal_it_reads_a_script(testbed: Command, single: str) -> None:
    ended = testbed("shell", single, "h2", input="hostname\nexit 4\n")
    assert (ended.returncode, ended.stdout) == (4, "h2\n")


def test_an_unknown_node_is_told_with_those_that_exist(testbed: Command, single: str) -> None:
    ended = testbed("shell", single, "h9")
    assert ended.returncode == 5
    assert "h1, h2" in ended.stderr
