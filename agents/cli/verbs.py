"""The table of verbs that agents add to the `testbed` command: see `testbed.cli.plugged`.

`testbed --help` reads it: standard library only.
"""

from __future__ import annotations

# verb -> (module with its `command`, what it does).
VERBS = {
    "costs": ("agents.cli.costs", "Show or measure what the agents' work costs this machine."),
    "model": ("agents.cli.model", "Show what a model's KV cache asks of the network."),
}
