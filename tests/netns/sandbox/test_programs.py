"""Programs in a testbed: what they are given, how they end, what they see.  h1 ── s1 ── h2"""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import agents
from testbed.errors import NotFoundError, ProgramError, UsageError
from testbed.lab import Lab
from testbed.sandbox.client import ask, connect
from testbed.sandbox.program import Program
from testbed.sandbox.protocol import (
    Connection,
    Differs,
    Exited,
    Failed,
    MakeSockets,
    Order,
    Spawn,
    Spawned,
    Verify,
)
from tests.netns.sandbox.traces import wait_until

pytestmark = pytest.mark.user
_PATIENCE_S = 30.0


def commands(lab: Lab) -> str:
    """The command lines of all programs of a testbed."""
    return lab["h2"].run(["cat", *_proc_files(lab)]).stdout.replace("\0", " ")


def _proc_files(lab: Lab) -> list[str]:
    pids = [name for name in lab["h2"].run(["ls", "/proc"]).stdout.split() if name.isdigit()]
    return [f"/proc/{pid}/cmdline" for pid in pids]


# --- how they end ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "status"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 7"], 7),
        (["sh", "-c", "kill -9 $$"], -signal.SIGKILL),
        (["no-such-program"], 127),
        (["/no/such/program"], 127),
        (["/etc/hosts"], 126),
        (["/etc"], 126),
    ],
    ids=str,
)
def test_the_exit_status_is_the_programs_own(lab: Lab, argv: list[str], status: int) -> None:
    assert lab["h1"].run(argv).status == status


def test_a_program_that_is_not_found_is_named(lab: Lab) -> None:
    assert lab["h1"].run(["no-such-program"]).stderr == "no-such-program: not found\n"


def test_with_check_a_failure_is_an_error(lab: Lab) -> None:
    with pytest.raises(ProgramError, match="status 3\noh no"):
        lab["h1"].run(["sh", "-c", "echo oh no >&2; exit 3"], check=True)


def test_large_input_and_output_pass_at_once(lab: Lab) -> None:
    text = "0123456789abcdef" * (1 << 16)
    assert lab["h1"].run(["cat"], input=text).stdout == text


def test_a_program_that_does_not_read_its_input_is_no_error(lab: Lab) -> None:
    assert lab["h1"].run(["true"], input="x" * (1 << 20)).status == 0


@pytest.mark.parametrize(
    "script",
    ["sleep 4711 & sleep 4711", "sleep 4711 & echo the leader has ended"],
    ids=["running", "left behind"],
)
def test_at_a_timeout_all_of_it_is_killed(lab: Lab, script: str) -> None:
    with pytest.raises(ProgramError, match="did not end within"):
        lab["h1"].run(["sh", "-c", script], timeout=0.2)
    wait_until(lambda: "4711" not in commands(lab))


def test_a_signal_reaches_the_process_group(lab: Lab) -> None:
    script = "trap 'echo got it; exit 4' TERM; echo ready; while :; do sleep 0.01; done"
    with lab["h1"].popen(["sh", "-c", script]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == b"got it\n"
        assert process.wait(_PATIENCE_S) == 4


def test_what_is_no_signal_is_refused(lab: Lab) -> None:
    with (
        lab["h1"].popen(["sleep", "100"]) as process,
        pytest.raises(UsageError, match="99 is not a signal"),
    ):
        process.send_signal(99)


def test_waiting_can_be_given_up_and_taken_up_again(lab: Lab) -> None:
    process = lab["h1"].popen(["cat"], stdin=subprocess.PIPE)
    for timeout in (0, 0.01):
        with pytest.raises(TimeoutError):
            process.wait(timeout)
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(_PATIENCE_S) == process.wait() == 0
    process.close()


def test_it_dies_with_the_conversation_about_it(lab: Lab) -> None:
    connection = connect(lab._entry)
    connection.send(Spawn(Program(("sleep", "4712"), "h1")), [0, 1, 2])
    assert isinstance(connection.receive()[0], Spawned)
    connection.close()
    wait_until(lambda: "4712" not in commands(lab))


def test_a_scope_is_killed_and_no_other(lab: Lab) -> None:
    sleeper = ("sleep", "100")
    with (
        lab.start(Program(sleeper, "h1", scope="node")) as one,
        lab.start(Program(sleeper, "h2", scope="node")) as two,
        lab.start(Program(sleeper, "h1")) as other,
    ):
        lab.kill("node")
        assert one.wait(_PATIENCE_S) == two.wait(_PATIENCE_S) == -signal.SIGKILL
        with pytest.raises(TimeoutError):
            other.wait(0)
        lab.kill("node")  # nothing of it runs any more, which is what was asked


def test_a_scope_that_nothing_ever_had_is_no_crash_of_a_node(lab: Lab) -> None:
    with pytest.raises(NotFoundError, match="no node 'h11'") as refusal:
        lab.kill("h11")
    assert "h1" in refusal.value.hint
    lab.kill("h2")  # there it is, though it runs nothing


def test_whether_it_still_runs_can_be_asked_without_waiting(lab: Lab) -> None:
    with lab["h1"].popen(["sleep", "100"]) as process:
        assert process.poll() is None
        waiter = threading.Thread(target=process.wait)
        waiter.start()
        assert process.poll() is None  # also while somebody waits
        process.terminate()
        waiter.join(_PATIENCE_S)
        assert process.poll() == -signal.SIGTERM
        assert process.poll() == process.wait() == -signal.SIGTERM


# --- what they are given -----------------------------------------------------------------------


def test_the_environment_is_added_to_that_of_the_launcher(lab: Lab) -> None:
    shown = lab["h1"].run(["env"], env={"ADDED": "yes"}).stdout.splitlines()
    assert "ADDED=yes" in shown
    assert f"PATH={os.environ['PATH']}" in shown


def test_how_the_testbed_finds_its_own_modules_is_not_passed_on(lab: Lab) -> None:
    found = lab["h1"].run(["sh", "-c", "echo ${PYTHONPATH-unset}"]).stdout.strip()
    assert found == os.environ.get("PYTHONPATH", "unset")


def test_the_working_directory_is_the_callers_or_the_one_asked_for(
    lab: Lab, tmp_path: Path
) -> None:
    assert lab["h1"].run(["pwd"]).stdout.strip() == str(Path.cwd())
    assert lab["h1"].run(["pwd"], cwd=str(tmp_path)).stdout.strip() == str(tmp_path)
    with lab.start(Program(("pwd",), "h1")) as process:
        assert process.communicate()[0].decode().strip() == str(Path.cwd())


def test_a_working_directory_that_is_not_there_is_named(lab: Lab) -> None:
    ended = lab["h1"].run(["true"], cwd="/no/such/place")
    assert ended.status == 125
    assert "/no/such/place" in ended.stderr


def test_it_has_three_descriptors_and_no_more(lab: Lab) -> None:
    shown = lab["h1"].run(["ls", "/proc/self/fd"]).stdout.split()
    assert shown == ["0", "1", "2", "3"]  # 3 is the directory that ls reads


def test_it_ignores_and_blocks_no_signal(lab: Lab) -> None:
    masks = dict(
        line.split(":\t")
        for line in lab["h1"].run(["cat", "/proc/self/status"]).stdout.splitlines()
    )
    # Signals 32 and 33 are the C library's own (nptl(7)): no program can set what it inherits.
    own = 1 << 31 | 1 << 32
    assert int(masks["SigBlk"], 16) & ~own == 0
    assert int(masks["SigIgn"], 16) & ~own == 0


def test_it_leads_a_session_of_its_own(lab: Lab) -> None:
    pid, session = lab["h1"].run(["cut", "-d ", "-f1,6", "/proc/self/stat"]).stdout.split()
    assert pid == session


def test_a_terminal_controls_it(lab: Lab) -> None:
    master, slave = os.openpty()
    connection = connect(lab._entry)
    connection.send(Spawn(Program(("sh", "-c", "read x </dev/tty; tty"), "h1"), True), [slave] * 3)
    connection.receive()
    os.close(slave)
    os.write(master, b"\n")
    said, _ = connection.receive()
    assert isinstance(said, Exited)
    assert said.status == 0
    shown = b""
    while b"/dev/" not in shown:
        shown += os.read(master, 1000)  # raises OSError at the end
    os.close(master)
    connection.close()


@pytest.mark.parametrize("fork", [True, False], ids=["forked", "exec'd"])
def test_a_module_runs_the_same_either_way(lab: Lab, fork: bool, tmp_path: Path) -> None:
    body = "import sys, testbed; print(sys.argv[1:], sys.stdin.read()); sys.exit('the end')"
    (tmp_path / "probe_module.py").write_text(body)
    place = (str(tmp_path),)
    program = Program(("a", "b c"), "h1", module="probe_module", module_path=place, fork=fork)
    with lab.start(program) as process:
        out, err = process.communicate(b"typed")
        assert (process.status, out, err) == (1, b"['a', 'b c'] typed\n", b"the end\n")


@pytest.mark.parametrize("fork", [True, False], ids=["forked", "exec'd"])
def test_files_in_the_working_directory_take_no_modules_place(
    lab: Lab, fork: bool, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "probe_module.py").write_text(
        "import agents.models, numpy; print(agents.__file__)"
    )
    for name in ("numpy.py", "agents.py", "probe_module.py"):
        (tmp_path / name).write_text("raise SystemExit('of the working directory')")
    program = Program(
        (), "h1", module="probe_module", module_path=(str(tmp_path / "elsewhere"),), fork=fork,
        cwd=str(tmp_path),
    )  # fmt: skip
    with lab.start(program) as process:
        out, err = process.communicate()
    assert (process.status, err) == (0, b"")
    assert out.decode().strip() == agents.__file__


@pytest.mark.parametrize("fork", [True, False], ids=["forked", "exec'd"])
def test_a_module_of_the_working_directory_is_not_found(
    lab: Lab, fork: bool, tmp_path: Path
) -> None:
    (tmp_path / "only_here.py").write_text("print('found')")
    program = Program((), "h1", module="only_here", fork=fork, cwd=str(tmp_path))
    with lab.start(program) as process:
        out, err = process.communicate()
    assert (process.status, out) == (1, b"")
    assert b"No module named only_here" in err.replace(b"'", b"")


def test_a_forked_module_goes_by_its_own_name(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "probe_module.py").write_text(
        "from pathlib import Path\n"
        "for file in ('comm', 'cmdline', 'environ'):\n"
        "    print(repr(Path('/proc/self', file).read_bytes().rstrip(b'\\0')))\n"
    )
    long = ("a", "b" * 5000)
    for arguments in (("a", "b"), long):
        program = Program(arguments, "h1", module="probe_module", module_path=(str(tmp_path),))
        with lab.start(program) as process:
            out, err = process.communicate()
        assert err == b""
        comm, line, environment = map(ast.literal_eval, out.decode().splitlines())
        assert comm == b"h1\n"
        whole = b"\0".join([b"python", b"-P", b"-m", b"probe_module", *map(str.encode, arguments)])
        assert line == whole[: len(line)]
        assert line.startswith(b"python\0-P\0-m\0probe_module\0a\0b")
        assert b"PATH=" in environment, "only the room of the arguments is written to"
    assert len(line) < len(whole)


# --- what they see ------------------------------------------------------------------------------


def test_a_domain_has_its_own_name_and_devices(lab: Lab) -> None:
    for host in ("h1", "h2"):
        seen = lab[host].run(["sh", "-c", "uname -n; ls /sys/class/net"]).stdout.split()
        assert seen == [host, f"{host}-eth0", "lo"]


def test_every_name_of_the_cluster_is_known_and_no_other(lab: Lab) -> None:
    script = "import socket, sys; print(socket.gethostbyname(sys.argv[1]))"
    address = lab["h2"].addresses["h2-eth0"]
    for name in ("h2", "h2-h2-eth0"):
        ended = lab["h1"].run([sys.executable, "-c", script, name])
        assert ended.stdout.strip() == address, ended.stderr
    assert lab["h1"].run([sys.executable, "-c", script, "localhost.example"]).status == 1
    assert "nameserver" not in lab["h1"].run(["cat", "/etc/resolv.conf"]).stdout


def test_the_hosts_files_are_untouched_outside(lab: Lab) -> None:
    assert "h2-h2-eth0" not in Path("/etc/hosts").read_text()


def test_shared_memory_is_shared_within_a_domain_only(lab: Lab) -> None:
    lab["h1"].run(["touch", "/dev/shm/mine"], check=True)
    assert "mine" in lab["h1"].run(["ls", "/dev/shm"]).stdout
    assert "mine" not in lab["h2"].run(["ls", "/dev/shm"]).stdout
    assert not Path("/dev/shm/mine").exists()


def test_domains_share_no_namespace_in_which_software_finds_neighbours(lab: Lab) -> None:
    kinds = ("ipc", "mnt", "net", "uts")
    show = ["readlink", *(f"/proc/self/ns/{kind}" for kind in kinds)]
    one, two = (lab[host].run(show).stdout.split() for host in ("h1", "h2"))
    outside = [str(Path(f"/proc/self/ns/{kind}").readlink()) for kind in kinds]
    for here, there, host in zip(one, two, outside, strict=True):
        assert len({here, there, host}) == 3


def test_only_the_testbeds_own_processes_are_seen(lab: Lab) -> None:
    assert str(os.getpid()) not in [
        path.split("/")[2] for path in _proc_files(lab) if "pytest" in path
    ]
    assert "pytest" not in commands(lab)


# --- the broker ----------------------------------------------------------------------------------

BROKER_PROBE = """
import socket
from testbed.errors import ProgramError
from testbed.sandbox.sockets import Broker

broker = Broker.from_environment()
sockets = broker.sockets("h2", 300)
server = sockets[0]
server.bind(("10.0.0.2", 0))
server.listen()
client, = broker.sockets("h1")
client.connect(server.getsockname())
peer, address = server.accept()
datagram, = broker.sockets("h1", kind=socket.SOCK_DGRAM)
print(len(sockets), address[0], datagram.type == socket.SOCK_DGRAM)
try:
    broker.sockets("h3")
except ProgramError as error:
    print(error.message)
"""


@pytest.mark.parametrize("fork", [True, False], ids=["forked", "exec'd"])
def test_a_program_gets_sockets_in_other_domains(lab: Lab, fork: bool, tmp_path: Path) -> None:
    (tmp_path / "broker_probe.py").write_text(BROKER_PROBE)
    program = Program(
        (), "h1", module="broker_probe", module_path=(str(tmp_path),), fork=fork, broker=True
    )
    with lab.start(program) as process:
        out, err = process.communicate()
    assert err == b""
    assert out.decode().splitlines() == [
        "300 10.0.0.1 True",
        f"there is no node 'h3' in {lab.name}",
    ]


def test_a_program_without_a_broker_is_told_how_to_get_one(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "broker_probe.py").write_text(BROKER_PROBE)
    with lab.start(
        Program((), "h1", module="broker_probe", module_path=(str(tmp_path),))
    ) as process:
        _, err = process.communicate()
    assert b"Program(broker=True)" in err


def test_an_interrupted_question_leaves_no_answer_for_the_next_one(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(connection: Connection) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Connection, "receive", interrupted)
        lab.counters()  # a notebook's cell that was ended; the answer is under way
    assert lab.verify() == []
    assert {sample.nic for sample in lab.counters()} == {"h1/h1-eth0", "h2/h2-eth0"}


# --- requests that are wrong ----------------------------------------------------------------------


def test_an_unknown_node_gets_a_suggestion(lab: Lab) -> None:
    with pytest.raises(NotFoundError, match="no node 'h11'") as refusal:
        lab["h11"]
    assert "h1" in refusal.value.hint
    with pytest.raises(NotFoundError) as refusal:
        lab.start(Program(("true",), "h11"))
    assert "h1" in refusal.value.hint


def test_an_empty_command_is_refused(lab: Lab) -> None:
    with pytest.raises(UsageError, match="no command"):
        lab["h1"].run([])


def test_a_command_in_one_text_is_refused_instead_of_taken_letter_by_letter(lab: Lab) -> None:
    with pytest.raises(UsageError, match="not a list of words") as refusal:
        lab["h1"].run("ls -l 'a b'")
    assert "['ls', '-l', 'a b']" in refusal.value.hint


def test_what_is_no_text_is_named(lab: Lab) -> None:
    with pytest.raises(UsageError, match="5 is not text") as refusal:
        lab["h1"].run(["echo", 5])  # type: ignore[list-item]
    assert refusal.value.hint == "write '5'"
    with pytest.raises(UsageError, match="is not text"):
        lab["h1"].run(["env"], env={"NUMBER": 5})  # type: ignore[dict-item]


def test_paths_and_bytes_are_taken_as_subprocess_takes_them(lab: Lab, tmp_path: Path) -> None:
    done = lab["h1"].run(
        [Path("/bin/sh"), "-c", 'pwd; echo "$PLACE"; cat'],
        env={"PLACE": tmp_path},
        cwd=Path("/"),
        input=b"raw",
    )
    assert done.stdout == f"/\n{tmp_path}\nraw"


def test_an_argument_that_cannot_be_sent_is_refused(lab: Lab) -> None:
    with pytest.raises(UsageError, match="not UTF-8"):
        lab["h1"].run(["echo", "\udcff"])


def send_garbage(connection: Connection) -> None:
    connection.socket.sendall(b"GET / HTTP/1.1\r\n\r\n")


def send_too_few_descriptors(connection: Connection) -> None:
    connection.send(Spawn(Program(("true",), "h1")), [0])


def send_what_only_a_launcher_sends(connection: Connection) -> None:
    connection.send(Order("x", b"", False, False))


def ask_for_too_many_sockets(connection: Connection) -> None:
    connection.send(MakeSockets("h1", 1000, 1))


def ask_for_a_strange_socket(connection: Connection) -> None:
    connection.send(MakeSockets("h1", 1, 4711))


@pytest.mark.parametrize(
    "request_wrongly",
    [
        send_garbage,
        send_too_few_descriptors,
        send_what_only_a_launcher_sends,
        ask_for_too_many_sockets,
        ask_for_a_strange_socket,
    ],
)
def test_a_wrong_request_is_refused_and_the_testbed_lives(
    lab: Lab, request_wrongly: Callable[[Connection], None]
) -> None:
    connection = connect(lab._entry)
    request_wrongly(connection)
    answer, _ = connection.receive()
    assert isinstance(answer, Failed)
    connection.close()
    assert ask(lab._entry, Verify(), Differs).lines == []
    assert lab["h1"].run(["true"]).status == 0


def test_a_client_that_leaves_at_once_does_no_harm(lab: Lab) -> None:
    for _ in range(20):
        connection = connect(lab._entry)
        connection.send(Spawn(Program(("sleep", "4713"), "h1")), [0, 1, 2])
        connection.close()
    assert lab["h1"].run(["true"]).status == 0
    wait_until(lambda: "4713" not in commands(lab))


# --- many at once ------------------------------------------------------------------------------


def test_many_threads_run_programs_at_once(lab: Lab) -> None:
    failures: list[object] = []

    def work(number: int) -> None:
        try:
            for turn in range(10):
                text = f"{number}.{turn}"
                ended = lab[f"h{number % 2 + 1}"].run(["sh", "-c", f"echo {text}; exit {number}"])
                if (ended.status, ended.stdout) != (number, f"{text}\n"):
                    failures.append(ended)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
