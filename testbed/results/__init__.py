"""Run directories; `testbed.results.load(path)` reads one.  See ARCHITECTURE.md."""

from testbed.results.load import RunData, load

__all__ = ["RunData", "load"]
