"""exec: the program has the command's descriptors, environment, directory, signals and status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., subprocess.Popen[str]]
pytestmark = pytest.mark.user


@pytest.mark.parametrize(
    ("script", "status"),
    [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137), ("kill -TERM $$", 143)],
)
def test_the_status_is_the_programs(
    script: str, status: int, testbed: Command, single: str
) -> None:
    ended = testbed("exec", single, "h1", "--", "sh", "-c", script)
    assert (ended.returncode, ended.stdout, ended.stderr) == (status, "", "")


@pytest.mark.parametrize(
    ("node", "program", "status", "message"),
    [
        ("h1", "no-such-program", 127, "not found"),
        ("h1", "/etc/passwd", 126, "denied"),
        ("h3", "true", 125, "there is no node 'h3'"),
    ],
)
def test_what_cannot_be_run_has_a_status_of_its_own(
    node: str, program: str, status: int, message: str, testbed: Command, single: str
) -> None:
    ended = testbed("exec", single, node, "--", program)
    assert ended.returncode == status
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


def test_input_output_and_errors_are_the_commands(testbed: Command, single: str) -> None:
    script = "cat; echo wrong >&2"
    ended = testbed("exec", single, "h2", "--", "sh", "-c", script, input="a\nb\n")
    assert (ended.stdout, ended.stderr) == ("a\nb\n", "wrong\n")


def test_environment_and_directory_are_the_commands(
    testbed: Command, single: str, environment: dict[str, str], tmp_path: Path
) -> None:
    given = {**environment, "PLACE": "with 'quotes' and ü"}
    ended = testbed(
        "exec", single, "h1", "--", "sh", "-c", 'echo "$PLACE"; pwd -P; hostname',
        env=given, cwd=tmp_path,
    )  # fmt: skip
    assert ended.stdout.splitlines() == [given["PLACE"], str(tmp_path.resolve()), "h1"]


def test_arguments_are_not_read_by_a_shell(testbed: Command, single: str) -> None:
    arguments = ["--json", "$HOME", "a b", "*", "--", "-n"]
    ended = testbed("exec", single, "h1", "--", "printf", "%s|", *arguments)
    assert ended.stdout == "".join(f"{one}|" for one in arguments)


def test_one_node_reaches_the_other_by_name(testbed: Command, single: str, start: Start) -> None:
    # h1 ── s1 ── h2
    serve = (
        "import socket; s = socket.create_server(('0.0.0.0', 7000)); print('ready', flush=True);"
        "c, peer = s.accept(); print(peer[0])"
    )
    server = start("exec", single, "h2", "--", "python3", "-c", serve)
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n"
    call = "import socket; socket.create_connection(('h2', 7000), 10)"
    assert testbed("exec", single, "h1", "--", "python3", "-c", call).returncode == 0
    assert server.communicate(timeout=30)[0] == "10.0.0.1\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_reaches_the_program(number: signal.Signals, single: str, start: Start) -> None:
    before = signal.signal(number, signal.SIG_DFL)  # under nohup(1) a hang-up is nobody's business
    try:
        process = start("exec", single, "h1", "--", "sh", "-c", "echo up; exec cat", stdin=-1)
    finally:
        signal.signal(number, before)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.send_signal(number)
    process.wait(30)
    assert process.returncode == 128 + number


def test_a_program_may_handle_a_signal_itself(single: str, start: Start) -> None:
    script = "trap 'exit 3' TERM; echo up; while :; do read line; done"
    process = start("exec", single, "h1", "--", "sh", "-c", script, stdin=-1)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 3


def test_a_killed_command_takes_its_program_with_it(single: str, start: Start) -> None:
    read, write = os.pipe()
    process = start(
        "exec", single, "h1", "--", "sh", "-c", "echo up; exec sleep 1000", stdin=read,
        pass_fds=(),
    )  # fmt: skip
    os.close(read)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.kill()
    # The pipe's only other reader was the program's standard input.
    with pytest.raises(BrokenPipeError):
        while True:
            os.write(write, b"x" * 4096)
    os.close(write)


def test_the_end_of_the_testbed_is_the_testbeds_failure(testbed: Command, start: Start) -> None:
    assert testbed("up", "single", "--name", "brief").returncode == 0
    process = start("exec", "brief", "h1", "--", "sh", "-c", "echo up; exec cat", stdin=-1)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    assert testbed("down", "brief").returncode == 0
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 125
    assert "the testbed ended" in errors


def test_a_closed_input_is_an_empty_one(single: str, environment: dict[str, str]) -> None:
    line = f"{sys.executable} -m testbed.cli.main exec {single} h1 -- cat <&-"
    ended = subprocess.run(
        ["sh", "-c", line], env=environment, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
