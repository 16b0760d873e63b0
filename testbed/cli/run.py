"""`testbed run`: run a scenario, judge it, write the run directory, print what came out."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from testbed.cli import output
from testbed.cli.arguments import json_option, pairs, scale_option, scaled, set_option

if TYPE_CHECKING:
    from testbed.experiment.repeats import Repeat
    from testbed.experiment.runner import Progress

_EPILOG = """\b
Examples:
  testbed run demo
  testbed run demo --repeat 6
  testbed run 2p4d --set duration=30s --json
  testbed run mine.yaml --set 'policies=[pe-only, mine.py:Policy]'
  testbed run 2p4d --scale auto
"""


@click.command("run", epilog=_EPILOG)
@click.argument("scenario")
@set_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs"),
    show_default=True,
    help="Directory that the run directory is made in.",
)
@click.option(
    "--repeat",
    type=click.IntRange(min=1),
    default=1,
    metavar="N",
    help="Run it N times, with derived seeds, as a set with medians and intervals.",
)
@scale_option
@click.option("--accept-unfaithful", is_flag=True, help="Exit 0 even if the verdict is FAIL.")
@json_option
def command(
    scenario: str,
    overrides: tuple[str, ...],
    out: Path,
    repeat: int,
    scale: str | None,
    accept_unfaithful: bool,
    as_json: bool,
) -> None:
    """Run SCENARIO (a shipped one by name, or a YAML file) and compare its policies."""
    with output.failures(as_json):
        from testbed.experiment import record, repeats

        asked = record.load(scenario, scaled(pairs(overrides), scale), measure=output.note)
        finished: record.Finished | repeats.Repeated
        with progress() as report:
            if repeat > 1:
                finished = repeats.repeat(asked, out, repeat, sys.argv, report, _tell)
            else:
                finished = record.execute(asked, out, sys.argv, report)
        output.result(finished.as_json(), finished.lines(), as_json=as_json)
    with output.failures(False):  # the one object of --json is out, and holds the verdict
        finished.judge(accept_unfaithful=accept_unfaithful)


def _tell(one: Repeat, times: int) -> None:
    output.note(f"run {one.number} of {times}: seed {one.seed}, {', then '.join(one.order)}")


@contextlib.contextmanager
def progress() -> Iterator[Callable[[Progress], None]]:
    """A line that is rewritten on a terminal; elsewhere a line for each phase."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.markup import escape

        console = Console(stderr=True)
        with console.status("") as status:

            def live(now: Progress) -> None:
                if warning := now.fields.get("warning"):
                    console.print(f"[bold yellow]warning[/bold yellow] {escape(str(warning))}")
                status.update(_describe(now))

            yield live
        return
    last = ("", "")

    def plain(now: Progress) -> None:
        nonlocal last
        if (now.variant, now.phase) != last:
            last = (now.variant, now.phase)
            stamp = time.strftime("%H:%M:%S")
            click.echo(f"{stamp} {now.variant}: {now.phase}", err=True)
        if warning := now.fields.get("warning"):
            click.echo(f"warning: {warning}", err=True)

    yield plain


def _describe(now: Progress) -> str:
    from testbed.units import show_rate

    parts = [f"[bold]{now.variant}[/bold]", now.phase]
    done = now.fields.get("done")
    if done is not None:
        parts.append(f"{done} requests")
    left_s = now.fields.get("left_s")
    if left_s is not None:
        parts.append(f"{left_s:.0f}s left")
    parts.extend(f"{name} {show_rate(rate)}" for name, rate in now.rates_bps.items() if rate >= 1e5)
    return "  ".join(parts)
