"""Import all that the agents' programs are made of, and say what that took.

    python -m agents.costing.loading

Prints one JSON object, {"load_s", "private_bytes"}: CPU seconds of it, and memory of its own.
"""

from __future__ import annotations

import importlib
import json
import time
from pathlib import Path

from agents import entry_modules


def private_bytes() -> int:
    """Memory that no other process shares, see proc_pid_smaps(5)."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def main() -> None:
    """What the zygote does before it forks the first of them."""
    bytes_before, began_s = private_bytes(), time.process_time()
    for module in entry_modules.ALL:
        importlib.import_module(module)
    load_s = time.process_time() - began_s
    print(json.dumps({"load_s": load_s, "private_bytes": private_bytes() - bytes_before}))


if __name__ == "__main__":
    main()
