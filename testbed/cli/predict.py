"""`testbed predict`: what a scenario should come to, and what it takes, without running it."""

from __future__ import annotations

import click

from testbed.cli import output
from testbed.cli.arguments import json_option, pairs, scale_option, scaled, set_option

_EPILOG = """\b
Examples:
  testbed predict demo
  testbed predict 2p4d --scale auto --json
"""


@click.command("predict", epilog=_EPILOG)
@click.argument("scenario")
@set_option
@scale_option
@json_option
def command(scenario: str, overrides: tuple[str, ...], scale: str | None, as_json: bool) -> None:
    """Predict SCENARIO: its caps, what binds each policy, how long it takes, what it needs.

    Nothing is brought up.  If this machine cannot carry it, the exit status is 8, and the largest
    scale that it can carry is named.
    """
    with output.failures(as_json):
        from testbed.experiment import record

        found = record.predict(record.load(scenario, scaled(pairs(overrides), scale)))
        output.result(found.as_json(), found.lines(), as_json=as_json)
    with output.failures(False):  # the one object of --json is out, and holds the refusal
        found.judge()
