"""Feeds batches to `ip`, `bridge` and `tc` and says how long the tools took.

    python -m scripts.bench.support.run_batches PLAN.json

To be started in mount, network and pid namespaces of its own: it mounts over /run/netns.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from scripts.bench.support.batches import Batch, batches
from testbed.kernel.namespaces import mount
from testbed.plan.model import decode

NETNS = Path("/run/netns")


def feed(batch: Batch) -> None:
    """Start a tool once.

    Raises:
        RuntimeError: it refused a line.
    """
    inside = ["-netns", batch.namespace] if batch.namespace else []
    done = subprocess.run(
        [batch.tool, *inside, "-batch", "-"],
        input="\n".join(batch.lines).encode(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{batch.tool} in {batch.namespace}: {done.stderr.decode()[:500]}")


def main() -> None:
    """Prints {"seconds": …, "starts": …, "lines": …}."""
    made = list(batches(decode(Path(sys.argv[1]).read_bytes())))
    mount("tmpfs", str(NETNS.parent), "tmpfs", 0)
    NETNS.mkdir()
    began_s = time.monotonic()
    for batch in made:
        feed(batch)
    seconds = time.monotonic() - began_s
    lines = sum(len(batch.lines) for batch in made)
    json.dump({"seconds": seconds, "starts": len(made), "lines": lines}, sys.stdout)


if __name__ == "__main__":
    main()
