"""A run whose programs keep all processors busy, inside a cgroup that may have a part of one.

python -m tests.netns.fidelity.throttled CGROUP DIRECTORY

Prints the reasons of the checks that failed, by name, as one JSON object.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from tests.netns.fidelity.test_provoked_failures import judged


def main() -> None:
    cgroup, directory = map(Path, sys.argv[1:])
    (cgroup / "cgroup.procs").write_text(str(os.getpid()))
    _, failed, _ = judged("CPU hog", directory)
    print(json.dumps({name: check.reason for name, check in failed.items()}))


if __name__ == "__main__":
    main()
