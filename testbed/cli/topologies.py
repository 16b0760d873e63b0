"""`testbed topologies`: the topologies that come along, with their parameters."""

from __future__ import annotations

import click

from testbed.cli import output
from testbed.cli.arguments import json_option

_EPILOG = """\b
Examples:
  testbed up dualpath --set gpus=4 --set cnic_mbit=500Mbit
  testbed up mine.py:ring       a file that `mn --custom` takes
"""


@click.command("topologies", epilog=_EPILOG)
@json_option
def command(as_json: bool) -> None:
    """List the topologies that `testbed up` knows by name; rates are in Mbit/s."""
    with output.failures(as_json):
        from topologies import catalog

        described = catalog.describe()
        width = max(len(one.name) for one in described)
        lines = []
        for one in described:
            if one.preset_of is not None:
                lines.append(f"{one.name:{width}}  {one.preset_of} with {one.summary}")
                continue
            shown = ", ".join(f"{key}={value.default}" for key, value in one.parameters.items())
            lines += [f"{one.name:{width}}  {one.summary}", f"{'':{width}}  {shown}"]
        output.result(
            {
                "topologies": [
                    {
                        "name": one.name,
                        "summary": one.summary,
                        "preset_of": one.preset_of,
                        "parameters": {
                            key: {"type": value.kind, "default": value.default}
                            for key, value in one.parameters.items()
                        },
                    }
                    for one in described
                ]
            },
            lines,
            as_json=as_json,
        )
