"""`testbed profile`: measure a scenario's parameters on its own cluster."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from testbed.cli import output
from testbed.cli.arguments import json_option, pairs, set_option
from testbed.cli.run import progress

_EPILOG = """\b
Examples:
  testbed profile demo
  testbed profile 2p4d-modelled --json
"""


@click.command("profile", epilog=_EPILOG)
@click.argument("scenario")
@set_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs"),
    show_default=True,
    help="Directory that the run directories are made in.",
)
@click.option("--accept-unfaithful", is_flag=True, help="Exit 0 even if a verdict is FAIL.")
@json_option
def command(
    scenario: str, overrides: tuple[str, ...], out: Path, accept_unfaithful: bool, as_json: bool
) -> None:
    """Measure on SCENARIO's cluster, by short runs, what its scheduler wants to know."""
    with output.failures(as_json):
        from testbed.experiment import record
        from testbed.experiment.profile import profile
        from testbed.results import layout

        layout.check_writable(out)
        asked = record.load(scenario, pairs(overrides), measure=output.note)
        with progress() as report:
            found = profile(asked, out, sys.argv, report)
        output.result(found.as_json(), found.lines(), as_json=as_json)
    with output.failures(False):  # the one object of --json is out, and holds the verdicts
        found.judge(accept_unfaithful=accept_unfaithful)
