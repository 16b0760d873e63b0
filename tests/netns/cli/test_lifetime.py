"""up, ls, inspect and down: a testbed's life as the command line sees it."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]
pytestmark = pytest.mark.user


def _interfaces() -> list[str]:
    return sorted(name for _, name in socket.if_nameindex())


def _supervisor(directory: Path) -> int:
    """Who listens on a testbed's control socket, see unix(7)."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(directory / "control.sock"))
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid: int = struct.unpack("=iII", credentials)[0]
    return pid


def test_up_ls_inspect_down(testbed: Command, environment: dict[str, str]) -> None:
    # h1 ── s1 ── h2
    before = _interfaces()
    up = testbed("up", "single")
    assert up.returncode == 0, up.stderr
    assert "single is up: 2 nodes" in up.stdout
    hints = [line.split()[:2] for line in up.stdout.splitlines() if line.startswith("  testbed")]
    assert hints == [["testbed", "shell"], ["testbed", "down"]]

    (listed,) = json.loads(testbed("ls", "--json").stdout)["testbeds"]
    assert (listed["name"], listed["topology"], listed["nodes"]) == ("single", "single", 2)
    assert testbed("ls").stdout.splitlines()[1].startswith("single  single")

    inspected = json.loads(testbed("inspect", "--verify", "--json").stdout)
    assert inspected["differences"] == []
    assert inspected["domains"]["h1"]["addresses"] == {"h1-eth0": "10.0.0.1"}
    assert inspected["objects"]["namespace"] == 3
    assert "elements" not in inspected
    assert "verified" in testbed("inspect", "single", "--verify").stdout

    directory = Path(environment["XDG_RUNTIME_DIR"]) / "testbed" / "single"
    assert (directory / "control.sock").stat().st_mode & 0o777 == 0o600
    supervisor = os.pidfd_open(_supervisor(directory))
    down = testbed("down", "single")
    assert (down.returncode, down.stdout) == (0, "single is down\n")
    assert _ends(supervisor)
    os.close(supervisor)
    assert not directory.exists()
    assert testbed("ls").stdout == ""
    assert _interfaces() == before


def test_inspect_tells_what_nics_have_carried(testbed: Command) -> None:
    # h1 ── s1 ── h2
    assert testbed("up", "single", "--name", "counted").returncode == 0
    try:
        assert "nothing yet" in testbed("inspect", "counted").stdout
        code = (
            "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
            "s.sendto(bytes(1000), ('10.0.0.2', 9))"  # discard, RFC 863
        )
        assert testbed("exec", "counted", "h1", "--", "python3", "-c", code).returncode == 0
        (out,) = (
            each
            for each in json.loads(testbed("inspect", "counted", "--json").stdout)["counters"]
            if (each["nic"], each["direction"]) == ("h1/h1-eth0", "out")
        )
        assert (out["packets"], out["bytes"]) == (1, 1042)
        assert out["lanes"]["kv"] == {"bytes": 1042, "packets": 1}
        assert out["lanes"]["model"]["packets"] == out["drops"] == 0
        assert "h1/h1-eth0  out" in testbed("inspect", "counted").stdout
    finally:
        assert testbed("down", "counted").returncode == 0


def _ends(pidfd: int) -> bool:
    """Whether a process ends (a pidfd is readable then), within a generous time."""
    return bool(select.select([pidfd], [], [], 30)[0])


def test_a_change_behind_its_back_is_named(testbed: Command, single: str) -> None:
    wanted = testbed("inspect", single, "--json")
    assert wanted.returncode == 0
    changed = "/proc/sys/net/ipv4/tcp_rmem"
    old = testbed("exec", single, "h1", "--", "cat", changed).stdout
    assert testbed("exec", single, "h1", "--", "tee", changed, input="4096 8192 16384").stdout
    try:
        ended = testbed("inspect", single, "--verify")
        assert ended.returncode == 10
        assert "h1" in ended.stderr and "tcp_rmem" in ended.stderr
        ended = testbed("inspect", single, "--verify", "--json")
        assert ended.returncode == 10
        assert len(json.loads(ended.stdout)["differences"]) == 1
    finally:
        testbed("exec", single, "h1", "--", "tee", changed, input=old)
    assert testbed("inspect", single, "--verify").returncode == 0


def test_a_second_one_of_the_same_name_is_refused(testbed: Command, single: str) -> None:
    ended = testbed("up", "linear", "--name", single)
    assert ended.returncode == 6
    assert f"a testbed named '{single}' runs already" in ended.stderr
    assert f"testbed down {single}" in ended.stderr
    assert testbed("exec", single, "h1", "--", "true").returncode == 0


def test_a_name_that_is_too_long_is_refused_and_leaves_nothing(
    testbed: Command, environment: dict[str, str]
) -> None:
    ended = testbed("up", "single", "--name", "n" * 120)
    assert ended.returncode == 2
    assert "control socket" in ended.stderr
    runtime = Path(environment["XDG_RUNTIME_DIR"]) / "testbed"
    assert not [one for one in runtime.iterdir() if one.name.startswith("nn")]


def test_a_host_name_that_makes_a_long_device_is_refused(testbed: Command, tmp_path: Path) -> None:
    path = tmp_path / "long.py"
    path.write_text(
        "from mininet.topo import Topo\n"
        "class Long(Topo):\n"
        "    def build(self):\n"
        "        self.addLink(self.addHost('a_rather_long_name'), self.addSwitch('s1'), bw=10)\n"
        "topos = {'long': Long}\n"
    )
    ended = testbed("up", str(path))
    assert ended.returncode == 3
    assert "15 bytes" in ended.stderr


def test_which_one_must_be_said_when_several_run(testbed: Command, single: str) -> None:
    assert testbed("up", "single", "--name", "two", "--set", "k=1").returncode == 0
    try:
        ended = testbed("exec", "h1", "--", "true")
        assert ended.returncode == 125
        assert "several testbeds run: one, two" in ended.stderr
        assert testbed("exec", "two", "h1", "--", "true").returncode == 0
        assert testbed("down").returncode == 5
    finally:
        assert testbed("down", "two").returncode == 0
    assert testbed("exec", "h1", "--", "true").returncode == 0


def test_one_that_does_not_react_is_killed(testbed: Command, environment: dict[str, str]) -> None:
    assert testbed("up", "single", "--name", "stuck").returncode == 0
    directory = Path(environment["XDG_RUNTIME_DIR"]) / "testbed" / "stuck"
    pid = _supervisor(directory)
    pidfd = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGSTOP)
        assert testbed("down", "stuck").returncode == 0
        assert _ends(pidfd)
    finally:
        os.close(pidfd)
    assert "stuck" not in testbed("ls").stdout
    assert not directory.exists()


def test_a_preset_comes_up_and_its_nodes_reach_each_other(testbed: Command) -> None:
    # pe0 ══ [storage] ══ st0, pe0 ── [pe0c0] ── [compute] ── [de0c0] ── de0
    up = testbed("up", "1p1d", "--set", "gpus=1", "--name", "small")
    assert up.returncode == 0, up.stderr
    try:
        code = (
            "import socket; s = socket.create_server(('0.0.0.0', 0), backlog=1);"
            "c = socket.create_connection((socket.gethostbyname('pe0'), s.getsockname()[1]), 10);"
            "print(c.getpeername()[0])"
        )
        ended = testbed("exec", "small", "pe0", "--", "python3", "-c", code)
        assert ended.stdout == "10.0.0.1\n", ended.stderr
    finally:
        assert testbed("down", "small").returncode == 0
