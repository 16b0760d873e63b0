"""How testbeds come, how they go, and that nothing stays.  All of them: h1 ── s1 ── h2"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from testbed.errors import (
    CapacityError,
    ConflictError,
    KernelError,
    NotFoundError,
    ProgramError,
    TestbedError,
    UsageError,
    VerifyError,
)
from testbed.lab import Lab
from testbed.plan.model import Address, Plan, Sysctl
from testbed.sandbox import registry
from testbed.sandbox.launch import Launch, launch
from testbed.sandbox.program import Program
from tests.netns.sandbox import traces
from topologies.single import SingleTopo

pytestmark = pytest.mark.user
_PATIENCE_S = 30.0


def names() -> list[str]:
    return [entry.name for entry in registry.running()]


def test_at_the_end_of_the_block_nothing_is_left(tag: str, runtime: Path) -> None:
    with Lab(SingleTopo(k=2)) as lab:
        lab.start(Program(("sleep", "1000"), "h1"))
        assert names() == [lab.name]
        # It and its zygote, and no stray outer one; a process in the midst of execve shows nothing.
        traces.wait_until(
            lambda: (len(traces.supervisors(tag)), len(traces.processes(tag))) == (2, 3)
        )
    assert list(runtime.iterdir()) == []
    traces.wait_until_gone(tag)


def test_nothing_of_it_is_in_the_hosts_network_namespace() -> None:
    before = Path("/proc/net/dev").read_text().splitlines()
    with Lab(SingleTopo(k=2)):
        after = Path("/proc/net/dev").read_text().splitlines()
    assert {line.split(":")[0] for line in after} == {line.split(":")[0] for line in before}


def test_two_with_the_same_names_inside_run_at_once() -> None:
    with Lab(SingleTopo(k=2)) as one, Lab(SingleTopo(k=2)) as two:
        one["h1"].run(["touch", "/dev/shm/one"], check=True)
        assert two["h1"].run(["ls", "/dev/shm"]).stdout == ""
        assert one["h1"].run(["uname", "-n"]).stdout == two["h1"].run(["uname", "-n"]).stdout
        assert sorted(names()) == sorted([one.name, two.name])


def test_a_name_is_taken_once() -> None:
    with Lab(SingleTopo(k=2), name="one") as lab:
        with pytest.raises(ConflictError, match="'one' runs already"):
            Lab(SingleTopo(k=2), name="one")
        assert lab["h1"].run(["true"]).status == 0
    with Lab(SingleTopo(k=2), name="one"):
        pass


def test_one_that_is_closed_says_so(tag: str) -> None:
    with Lab(SingleTopo(k=2)) as lab:
        assert list(lab) == ["h1", "h2"] and "h3" not in lab
        left = lab["h1"].popen(["sleep", "100"])
    for use in (lambda: lab["h1"].run(["true"]), lab.counters, lab.verify):
        with pytest.raises(UsageError, match="is closed"):
            use()
    with pytest.raises(ProgramError, match="together with its testbed"):
        left.wait()
    assert "closed" in repr(lab)
    lab.close()  # once more does no harm


@pytest.mark.parametrize(
    ("topology", "hint"),
    [("1p1d", "catalog.build('1p1d', {})"), (SingleTopo, "make one"), (None, "make one")],
)
def test_what_is_no_topology_is_refused_before_anything_starts(
    tag: str, runtime: Path, topology: object, hint: str
) -> None:
    with pytest.raises(UsageError, match="takes a Mininet Topo") as refusal:
        Lab(topology)
    assert hint in refusal.value.hint
    with pytest.raises(UsageError, match="no PlanSettings"):
        Lab(SingleTopo(k=2), settings={"mtu": 1500})


def test_a_name_that_is_too_long_is_refused(tag: str, runtime: Path) -> None:
    with pytest.raises(UsageError, match="socket"):
        Lab(SingleTopo(k=2), name="n" * 108)
    assert list(runtime.iterdir()) == []


def test_one_that_is_not_owned_outlives_its_launcher_and_can_be_attached_to(plan: Plan) -> None:
    connection, _ = launch("kept", plan, owned=False)
    connection.close()
    lab = Lab.attach("kept")
    assert lab.plan == plan
    assert lab["h1"].run(["uname", "-n"]).stdout == "h1\n"
    assert lab.verify() == []
    lab.close()
    assert names() == ["kept"]
    (found,) = registry.running()
    assert found.about["topology"] == "single"
    assert (found.about["nodes"], found.about["domains"]) == (2, 2)
    from testbed.sandbox.client import shut_down

    shut_down(found)
    assert names() == []


def test_the_control_socket_is_private() -> None:
    with Lab(SingleTopo(k=2)) as lab:
        assert (registry.find(lab.name).socket.stat().st_mode & 0o777) == 0o600


def test_labs_come_up_in_a_program_with_threads(tag: str) -> None:
    outcomes: list[object] = []
    go = threading.Event()
    idlers = [threading.Thread(target=go.wait) for _ in range(5)]

    def work() -> None:
        try:
            with Lab(SingleTopo(k=2)) as lab:
                outcomes.append(lab["h1"].run(["uname", "-n"]).stdout)
        except BaseException as error:
            outcomes.append(error)

    workers = [threading.Thread(target=work) for _ in range(3)]
    for thread in (*idlers, *workers):
        thread.start()
    for thread in workers:
        thread.join()
    go.set()
    for thread in idlers:
        thread.join()
    assert outcomes == ["h1\n"] * 3


# --- bring-up that fails -----------------------------------------------------------------------


def test_what_the_kernel_refuses_is_said_and_nothing_is_left(
    plan: Plan, tag: str, runtime: Path
) -> None:
    bad = Address("h1", "nosuch0", "10.9.9.9", 24)
    with pytest.raises(KernelError, match="nosuch0"):
        Lab(msgspec.structs.replace(plan, elements=plan.elements | {bad}))
    assert list(runtime.iterdir()) == []
    traces.wait_until_gone(tag)


def test_what_does_not_verify_is_said_and_nothing_is_left(
    plan: Plan, tag: str, runtime: Path
) -> None:
    key = "net/ipv4/ip_forward"
    twice = {Sysctl("h1", key, "0"), Sysctl("h1", key, "1")}  # one of them is bound to lose
    rest = {e for e in plan.elements if not (isinstance(e, Sysctl) and e.key == key)}
    others = {e for e in plan.elements - rest if e.namespace != "h1"}
    with pytest.raises((VerifyError, KernelError), match="ip_forward"):
        Lab(msgspec.structs.replace(plan, elements=frozenset(rest | others | twice)))
    assert list(runtime.iterdir()) == []
    traces.wait_until_gone(tag)


def test_a_launch_that_is_given_up_leaves_nothing(tag: str, runtime: Path) -> None:
    with pytest.raises(RuntimeError), Launch("given-up"):
        raise RuntimeError
    assert list(runtime.iterdir()) == []
    traces.wait_until_gone(tag)


def test_a_topology_that_does_not_compile_leaves_nothing(tag: str, runtime: Path) -> None:
    with pytest.raises(TestbedError):
        Lab(SingleTopo(k=2, bw=0))
    assert list(runtime.iterdir()) == []
    traces.wait_until_gone(tag)


LIMITED = """
import resource, sys
from testbed.lab import Lab
from topologies.single import SingleTopo
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
with Lab(SingleTopo(k=60)) as lab:
    print(lab["h60"].run(["sh", "-c", "ulimit -Sn"]).stdout.strip())
"""


def limited(soft: int, hard: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LIMITED, str(soft), str(hard)],
        env={**os.environ, "PYTHONPATH": traces.python_path()},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_low_limit_of_open_files_holds_for_programs_but_not_for_the_testbed() -> None:
    ended = limited(100, 1000)
    assert ended.stdout == "100\n", ended.stderr


def test_a_hard_limit_that_is_too_low_is_said() -> None:
    ended = limited(100, 200)
    assert f"{CapacityError.__name__}: 60 domains take about" in ended.stderr


# --- death -------------------------------------------------------------------------------------


def test_a_killed_supervisor_takes_everything_along(
    tag: str, runtime: Path, bystander: None
) -> None:
    with Lab(SingleTopo(k=2)) as lab:
        process = lab.start(Program(("sleep", "1000"), "h1"))
        traces.kill([min(traces.supervisors(tag))])
        with pytest.raises(ProgramError, match="the testbed has ended"):
            process.wait(_PATIENCE_S)
        with pytest.raises(ProgramError):
            lab["h1"].run(["true"])
        process.close()
        traces.wait_until_gone(tag)
        assert list(runtime.iterdir()) == []  # whoever looks tidies up


def test_a_killed_zygote_ends_the_testbed(tag: str, runtime: Path) -> None:
    with Lab(SingleTopo(k=2)):
        traces.kill([max(traces.supervisors(tag))])
        traces.wait_until(lambda: not traces.processes(tag))
        assert list(runtime.iterdir()) == []  # it has tidied up itself


def test_sigterm_ends_it_in_good_order(tag: str, runtime: Path) -> None:
    with Lab(SingleTopo(k=2)):
        os.kill(min(traces.supervisors(tag)), signal.SIGTERM)
        traces.wait_until(lambda: not traces.processes(tag))
        assert list(runtime.iterdir()) == []  # it has tidied up itself


def test_one_whose_directory_vanishes_ends(tag: str, runtime: Path) -> None:
    with Lab(SingleTopo(k=2)) as lab:
        (runtime / lab.name).rename(runtime.parent / "elsewhere")
        traces.wait_until_gone(tag)


def test_one_that_fails_says_why_until_its_name_is_used_again(
    tag: str, runtime: Path, plan: Plan
) -> None:
    connection, _ = launch("failing", plan, owned=False)
    directory = runtime / "failing"
    directory.rename(runtime / "elsewhere")
    directory.symlink_to("failing")  # a loop: it cannot even look whether it is there
    while connection.socket.recv(1):
        pass
    connection.close()
    directory.unlink()
    with pytest.raises(NotFoundError, match="failed") as caught:
        registry.find("failing")
    log = registry.crash_log(directory)
    assert str(log) in caught.value.hint
    assert "OSError" in log.read_text()
    with Lab(plan, name="failing"):
        assert not log.exists()
    with pytest.raises(NotFoundError, match="no testbed named"):
        registry.find("failing")


def test_a_killed_owner_takes_its_testbed_along(tag: str, runtime: Path) -> None:
    owner = traces.start_owner("owned", tag)
    assert traces.is_up(owner)
    traces.end(owner)
    traces.wait_until_gone(tag)
    assert list(runtime.iterdir()) == []


def test_ctrl_c_ends_an_owner_and_its_testbed(tag: str) -> None:
    owner = traces.start_owner("owned", tag)
    assert traces.is_up(owner)
    owner.send_signal(signal.SIGINT)
    assert owner.wait(_PATIENCE_S) == -signal.SIGINT
    traces.end(owner)
    traces.wait_until_gone(tag)


@pytest.mark.parametrize("victim", ["owner", "supervisor"])
@pytest.mark.parametrize("seed", range(10))
def test_a_kill_at_a_random_moment_leaves_nothing(
    victim: str, seed: int, tag: str, bystander: None
) -> None:
    traces.kill_at_random(victim, random.Random(seed).uniform(0.0, 0.6), tag)
