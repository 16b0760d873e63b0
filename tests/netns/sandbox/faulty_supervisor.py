"""A supervisor that meets a fault before a step of applying its plan.

FAULT="KIND STEP FILE" in the environment: `error` raises, `death` ends it on the spot.  The inodes
of the network namespaces that it had made by then are in FILE, one a line.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from testbed.errors import KernelError
from testbed.kernel import apply as module
from testbed.plan.model import Plan
from testbed.sandbox import supervisor

_apply = module.apply


def _faulty(plan: Plan, namespaces: Mapping[str, int]) -> None:
    kind, step, file = os.environ["FAULT"].split()

    def meet(name: str) -> None:
        if name != step:
            return
        inodes = [str(os.fstat(net).st_ino) for net in namespaces.values()]
        Path(file).write_text("\n".join(inodes))
        if kind == "error":
            raise KernelError(f"a fault before {step}")
        os._exit(1)  # pid 1 cannot kill itself by a signal

    _apply(plan, namespaces, before=meet)


if __name__ == "__main__":
    module.apply = _faulty
    supervisor.main()
