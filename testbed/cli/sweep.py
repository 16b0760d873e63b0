"""`testbed sweep`: a grid of scenarios, which goes on where it was ended."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from testbed.cli import output
from testbed.cli.arguments import json_option
from testbed.cli.run import about, progress, tell
from testbed.errors import TestbedError

_EPILOG = """\b
A sweep file:
  name: agents
  scenario: demo
  set: {duration: 12s}
  grid:
    workload.agents: [8, 16, 32]
    arbitration: [fair, fifo]
  repeats: 3
"""


@click.command("sweep", epilog=_EPILOG)
@click.argument("file", type=click.Path(path_type=Path), metavar="SWEEP.yaml")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs"),
    show_default=True,
    help="Directory that the sweep's directory is in.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Only list the runs, which are done, and how long the others take.",
)
@click.option("--retry-unfaithful", is_flag=True, help="Run again what has the verdict FAIL.")
@click.option("--accept-unfaithful", is_flag=True, help="Exit 0 even if a verdict is FAIL.")
@json_option
def command(
    file: Path,
    out: Path,
    dry_run: bool,
    retry_unfaithful: bool,
    accept_unfaithful: bool,
    as_json: bool,
) -> None:
    """Run every point of SWEEP.yaml that has not been run yet."""
    with output.failures(as_json):
        from testbed.experiment import grid, rounds, sweep
        from testbed.report import swept

        asked, points = grid.load(file)
        if dry_run:
            plan = rounds.plan(points, out / asked.name, retry_unfaithful=retry_unfaithful)
            told = plan.as_json(rounds.foreseen(plan.points))
            ahead = [] if told["left_s"] is None else [f"{about(told['left_s'])} left"]
            output.result(told, [*plan.lines(), *ahead], as_json=as_json)
            return
        with progress() as report:
            try:
                done = sweep.run(
                    asked, points, out, sys.argv, report, tell, retry_unfaithful=retry_unfaithful
                )
            except KeyboardInterrupt as ended:
                _write_what_there_is(out / asked.name, ended)
                raise
        found = swept.write(done.path)
        output.result(
            found.as_json(done.failed, done.unwritten), found.lines(done.failed), as_json=as_json
        )
    with output.failures(False):
        found.judge(done.failed, done.unwritten, accept_unfaithful=accept_unfaithful)


def _write_what_there_is(path: Path, ended: KeyboardInterrupt) -> None:
    """The table and the figure of the runs that are complete, if there are any."""
    from testbed.report import attempt, swept
    from testbed.results.layout import SWEEP

    if (path / SWEEP).is_file():
        try:
            attempt.tell(ended, swept.write(path).unwritten)
        except TestbedError as error:
            ended.add_note(error.message)
