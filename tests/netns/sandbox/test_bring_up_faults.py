"""A fault in the midst of bringing up leaves nothing.  All of them: h1 ── s1 ── h2"""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from testbed.errors import KernelError, ProgramError
from testbed.lab import Lab
from testbed.plan.model import Plan
from testbed.sandbox import launch
from tests.netns.sandbox import traces
from tests.netns.steps import STEPS

_MADE = 3  # a network namespace for each host and one for all switches


def _used_namespaces() -> set[int]:
    """The inodes of all network namespaces that a process is in or has a descriptor of."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            for reference in (process / "ns" / "net", *(process / "fd").iterdir()):
                with contextlib.suppress(OSError):
                    kind, _, inode = str(reference.readlink()).partition(":[")
                    if kind == "net":
                        found.add(int(inode.rstrip("]")))
    return found


def test_a_namespace_in_use_is_found(plan: Plan) -> None:
    with Lab(plan) as lab:
        inode = lab["h1"].run(["readlink", "/proc/self/ns/net"], check=True).stdout
        assert int(inode.strip().removeprefix("net:[").rstrip("]")) in _used_namespaces()


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [("error", KernelError, "a fault before {}"), ("death", ProgramError, "died")],
)
@pytest.mark.parametrize("step", STEPS)
def test_a_fault_before_any_step_leaves_nothing(
    fault: str, error: type[Exception], message: str, step: str,
    plan: Plan, tag: str, runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    bystander: None,
) -> None:  # fmt: skip
    seen = tmp_path / "namespaces"
    monkeypatch.setenv("FAULT", f"{fault} {step} {seen}")
    monkeypatch.setattr(launch, "_SUPERVISOR", "tests.netns.sandbox.faulty_supervisor")
    with pytest.raises(error, match=message.format(step)):
        Lab(plan)
    made = {int(line) for line in seen.read_text().splitlines()}
    assert len(made) == (1 if step == "sysctls" else _MADE)  # parameters are set one by one
    assert list(runtime.iterdir()) == []
    traces.wait_until(lambda: not traces.processes(tag))
    traces.wait_until(lambda: made.isdisjoint(_used_namespaces()))
