"""A supervisor that meets a fault before a step of making its plan.

FAULT="KIND STEP FILE" in the environment: `error` raises, `death` ends the process on the spot:
pid 1, or the maker of the namespaces while it sets their parameters.  The inodes of the network
namespaces that there were by then are in FILE, one a line.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from testbed.errors import KernelError
from testbed.kernel import apply
from testbed.plan.model import Sysctl
from testbed.sandbox import maker, supervisor

_set_here = maker.set_here


def _meet(step: str, inodes: Iterable[int]) -> None:
    kind, chosen, file = os.environ["FAULT"].split()
    if step != chosen:
        return
    Path(file).write_text("\n".join(map(str, inodes)))
    if kind == "error":
        raise KernelError(f"a fault before {step}")
    os._exit(1)  # pid 1 cannot kill itself by a signal


class _Faulty(apply.Construction):
    def step(self, name: str, run: Callable[[], None]) -> None:
        _meet(name, (os.fstat(net).st_ino for net in self._namespaces.values()))
        super().step(name, run)


def _set_faulty(elements: Iterable[Sysctl]) -> None:
    _meet("sysctls", [Path("/proc/thread-self/ns/net").stat().st_ino])
    _set_here(elements)


if __name__ == "__main__":
    apply.Construction = _Faulty  # type: ignore[misc]
    maker.set_here = _set_faulty
    supervisor.main()
