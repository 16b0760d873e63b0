"""An emulated LLM-serving cluster on Linux network namespaces.

The public surface is `__all__`.  Each name is imported when it is first used, so that
`import testbed` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from testbed.errors import TestbedError
    from testbed.experiment.scale import Scale
    from testbed.lab import Lab
    from testbed.plan.compile import compile_plan
    from testbed.plan.settings import PlanSettings
    from testbed.sandbox.program import Program

__all__ = ["Lab", "PlanSettings", "Program", "Scale", "TestbedError", "compile_plan"]

_HOMES = {
    "Lab": "testbed.lab",
    "PlanSettings": "testbed.plan.settings",
    "Program": "testbed.sandbox.program",
    "Scale": "testbed.experiment.scale",
    "TestbedError": "testbed.errors",
    "compile_plan": "testbed.plan.compile",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'testbed' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
