"""Run the test layers one after another and end with the sum of them.

Unit tests run in parallel, and end-to-end tests: each of these has a cluster of its own, and
asserts nothing that the machine's other load decides.  Tests of netns measure what links carry and
run alone.  A layer that fails does not hide the next one.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

LAYERS = ("unit", "netns", "e2e")
# Layer -> how many tests at once, and how they are shared out.
PARALLEL = {
    "unit": lambda jobs: [str(jobs), "--dist", "worksteal"],
    # Half of such a test is waiting.  Those of one group share what took long to make.
    "e2e": lambda jobs: [str(jobs * 3 // 2), "--dist", "loadgroup"],
}
INTERRUPTED = 2  # pytest's exit status after Ctrl-C


def run_layer(layer: str, jobs: int, report: Path, extra: list[str]) -> int:
    """Run one layer with pytest; its exit status."""
    spread = layer in PARALLEL and jobs > 1
    parallel = ["-n", *PARALLEL[layer](jobs)] if spread else []
    print(f"\n--- tests/{layer}", flush=True)
    command = [sys.executable, "-m", "pytest", f"tests/{layer}", "--strict-skips", *parallel]
    return subprocess.run([*command, f"--junit-xml={report}", *extra], check=False).returncode


def counts(report: Path) -> Counter[str]:
    """Outcomes in a JUnit file, in the words of pytest's last line."""
    if not report.exists():
        return Counter(errors=1)  # pytest did not come to its end
    total: Counter[str] = Counter()
    for suite in ET.parse(report).getroot().iter("testsuite"):
        bad = {"failed": "failures", "errors": "errors", "skipped": "skipped"}
        found = {word: int(suite.get(name, 0)) for word, name in bad.items()}
        total.update(found, passed=int(suite.get("tests", 0)) - sum(found.values()))
    return total


def summary(total: Counter[str], elapsed_s: float) -> str:
    """One line in the form of pytest's own, over all layers."""
    words = [f"{total[word]} {word}" for word in ("failed", "passed", "skipped") if total[word]]
    if errors := total["errors"]:
        words.append(f"{errors} error{'s' if errors > 1 else ''}")
    clock = f" ({time.strftime('%-H:%M:%S', time.gmtime(elapsed_s))})" if elapsed_s >= 60 else ""
    return f" {', '.join(words) or 'no tests ran'} in {elapsed_s:.2f}s{clock} ".center(80, "=")


def main() -> int:
    """Run what the command line names; 0 if every layer passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2, help="processes for unit and e2e tests")
    parser.add_argument("--layer", action="append", choices=LAYERS, help="default: all")
    options, extra = parser.parse_known_args()
    began_s = time.monotonic()
    total: Counter[str] = Counter()
    failed = False
    with tempfile.TemporaryDirectory(prefix="testbed-junit-") as directory:
        for layer in options.layer or LAYERS:
            report = Path(directory, f"{layer}.xml")
            status = run_layer(layer, options.jobs, report, extra)
            total += counts(report)
            failed = failed or status != 0
            if status == INTERRUPTED:
                break
    print("\n--- all layers")
    print(summary(total, time.monotonic() - began_s), flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
