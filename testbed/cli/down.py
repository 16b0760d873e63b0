"""`testbed down`: end testbeds, with everything in them."""

from __future__ import annotations

import click

from testbed.cli import output
from testbed.cli.arguments import json_option, name_argument
from testbed.errors import TestbedError, UsageError


@click.command("down")
@name_argument
@click.option("--all", "everything", is_flag=True, help="End all testbeds of this user.")
@json_option
def command(name: str | None, everything: bool, as_json: bool) -> None:
    """End the testbed NAME (or the only one), with everything that runs in it."""
    with output.failures(as_json):
        from testbed.sandbox import registry
        from testbed.sandbox.client import shut_down

        if everything and name is not None:
            raise UsageError(f"both --all and {name!r} are given", hint="leave one out")
        entries = registry.running() if everything else [registry.find(name)]
        ended: list[str] = []
        failed: list[TestbedError] = []
        for entry in entries:
            try:
                shut_down(entry)
            except TestbedError as error:
                failed.append(error)  # the others are to end all the same
            else:
                ended.append(entry.name)
        if failed and not ended:
            raise failed[0]
        output.result(
            {"ended": ended},
            [f"{one} is down" for one in ended] or ["no testbed runs"],
            as_json=as_json,
        )
        if failed:
            raise failed[0]
