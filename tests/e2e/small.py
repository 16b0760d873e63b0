"""The demo, made small enough for a test: storage ══ pe0 (1 engine) ══ de0 (1 engine) ══ storage"""

from __future__ import annotations

_SETTINGS = {
    "topology.set.gpus": "1",
    "scale.rate": "4000",
    "scale.bytes": "4000",
    "workload.trace": "32k",
    "workload.agents": "4",
    "duration": "2s",
    "window.warm_up": "500ms",
    "window.warm_up_turns": "0",
    "window.tolerance": "0.9",
    "calibration": "false",
    "policies": "[pe-only, shorter-queue]",
}


def small_demo(*arguments: str, **changes: str) -> list[str]:
    """Arguments of `testbed`: `run demo`, small.

    Args:
        arguments: more of them.
        changes: settings that are different, each dot of a key as two underscores.
    """
    settings = _SETTINGS | {key.replace("__", "."): value for key, value in changes.items()}
    sets = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    return ["run", "demo", *sets, *arguments]
