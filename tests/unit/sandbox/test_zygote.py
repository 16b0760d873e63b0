"""What the process that forks every program has loaded."""

from __future__ import annotations

import json
import subprocess
import sys

PROBE = """
import json, sys, threading
import testbed.sandbox.supervisor, testbed.sandbox.zygote
print(json.dumps([sorted(sys.modules), threading.active_count()]))
"""


def test_it_is_small_and_has_one_thread() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROBE], capture_output=True, text=True, check=True
    )
    modules, threads = json.loads(ended.stdout)
    packages = {name.partition(".")[0] for name in modules}
    assert packages.isdisjoint({"pyroute2", "numpy", "polars", "matplotlib", "mininet", "pydantic"})
    assert threads == 1
