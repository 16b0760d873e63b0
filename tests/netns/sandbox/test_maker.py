"""The process that makes the namespaces: what it hands over, and what is said when it fails."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import msgspec
import pytest

from testbed.errors import KernelError, ProgramError
from testbed.kernel.namespaces import DomainNamespaces
from testbed.kernel.sysctls import read_sysctls
from testbed.plan.compile import compile_plan
from testbed.plan.model import Plan, Sysctl, pack
from testbed.sandbox import maker as maker_module
from testbed.sandbox.maker import Maker
from tests.netns.kernel.conftest import run_in_child
from topologies.single import SingleTopo

pytestmark = pytest.mark.user


@pytest.fixture
def plan() -> Plan:
    # h1, …, h9 ── s1
    return compile_plan(SingleTopo(k=9))


def taken(maker: Maker) -> dict[str, DomainNamespaces | int]:
    made: dict[str, DomainNamespaces | int] = {}
    while len(made) < len(maker.order):
        made |= maker.take()
    return made


def test_namespaces_come_in_order_and_with_their_parameters(plan: Plan) -> None:
    def body() -> None:
        maker = Maker(pack(plan))
        made = taken(maker)
        maker.close()
        assert list(made) == maker.order == ["fabric", *plan.domains]
        asked = {e for e in plan.elements if isinstance(e, Sysctl)}
        found = set()
        for name, namespaces in made.items():
            assert isinstance(namespaces, DomainNamespaces) == (name in plan.domains)
            net = namespaces.net if isinstance(namespaces, DomainNamespaces) else namespaces
            found |= set(read_sysctls(name, net))
        assert found == asked

    run_in_child(body, as_user=False)


def test_it_has_ended_when_it_is_closed(plan: Plan) -> None:
    def body() -> None:
        maker = Maker(pack(plan))
        taken(maker)
        maker.close()
        assert os.waitpid(-1, os.WNOHANG)[0] > 0

    run_in_child(body, as_user=False)


def test_what_the_kernel_refuses_it_names(plan: Plan) -> None:
    wrong = Sysctl("h4", "net/ipv4/ip_forward", "perhaps")
    right = next(e for e in plan.elements if isinstance(e, Sysctl) and e.key == wrong.key
                 and e.namespace == wrong.namespace)  # fmt: skip
    elements = plan.elements - {right} | {wrong}

    def body() -> None:
        with pytest.raises(KernelError, match=r"refused sysctl .* 'perhaps' in h4"):
            taken(Maker(pack(msgspec.structs.replace(plan, elements=elements))))

    run_in_child(body, as_user=False)


def test_if_it_dies_that_is_said(plan: Plan) -> None:
    def body() -> None:
        maker = Maker(pack(plan))
        assert maker._process is not None
        signal.pidfd_send_signal(maker._process, signal.SIGKILL)
        with pytest.raises(ProgramError, match="makes the namespaces has died"):
            taken(maker)

    run_in_child(body, as_user=False)


def test_if_it_has_died_before_anybody_looked_that_is_said_too(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def body() -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # as in pid 1: what has died is gone
        monkeypatch.setattr(maker_module, "_be_maker", lambda *_: os._exit(1))
        monkeypatch.setattr(os, "pidfd_open", lambda pid: pidfd_open(gone(pid)))
        with pytest.raises(ProgramError, match="makes the namespaces has died"):
            taken(Maker(pack(plan)))

    pidfd_open = os.pidfd_open
    run_in_child(body, as_user=False)


def gone(pid: int) -> int:
    while Path(f"/proc/{pid}").exists():
        time.sleep(0.001)
    return pid
