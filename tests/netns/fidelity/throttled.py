"""A run whose programs keep all processors busy, inside a cgroup that may have a part of one.

python -m tests.netns.fidelity.throttled CGROUP DIRECTORY

Prints one JSON object: the `cores` that there are, and of the checks that `failed` the reasons.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from testbed.kernel.machine import machine
from tests.netns.fidelity.test_provoked_failures import judged


def main() -> None:
    cgroup, directory = map(Path, sys.argv[1:])
    (cgroup / "cgroup.procs").write_text(str(os.getpid()))
    _, failed, _ = judged("CPU hog", directory)
    reasons = {name: check.reason for name, check in failed.items()}
    print(json.dumps({"cores": machine().cores, "failed": reasons}))


if __name__ == "__main__":
    main()
