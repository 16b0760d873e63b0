"""`testbed ls`: the testbeds that run."""

from __future__ import annotations

import click

from testbed.cli import output
from testbed.cli.arguments import json_option
from testbed.columns import columns
from testbed.sandbox import registry


@click.command("ls")
@json_option
def command(as_json: bool) -> None:
    """List the running testbeds of this user."""
    with output.failures(as_json):
        entries = registry.running()
        rows = []
        for entry in entries:
            about = entry.about
            rows.append(
                (
                    entry.name,
                    str(about.get("topology", "(coming up)")),
                    str(about.get("nodes", "")),
                    str(about.get("domains", "")),
                    str(about.get("created", "")),
                    "ends with its owner" if about.get("owned") else "",
                )
            )
        output.result(
            {
                "testbeds": [
                    {**entry.about, "name": entry.name, "up": bool(entry.about)}
                    for entry in entries
                ]
            },
            columns(rows, ("NAME", "TOPOLOGY", "NODES", "DOMAINS", "SINCE", "")) if rows else [],
            as_json=as_json,
        )
        if not rows and not as_json:
            output.note("no testbed runs; start one: testbed up 1p1d")
