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
from testbed.errors import UsageError

if TYPE_CHECKING:
    from testbed.experiment.rounds import Status
    from testbed.experiment.runner import Progress

_EPILOG = """\b
Examples:
  testbed run demo
  testbed run demo --repeat 6
  testbed run demo --into latest --repeat 10
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
    metavar="N",
    help="Run it N times, with derived seeds, as a set with medians and intervals.",
)
@click.option(
    "--into",
    metavar="SET",
    help="Go on with a set: make the runs that it lacks, or with --repeat N add to it.",
)
@click.option(
    "--retry-unfaithful", is_flag=True, help="With --into: make runs again whose verdict is FAIL."
)
@scale_option
@click.option("--accept-unfaithful", is_flag=True, help="Exit 0 even if the verdict is FAIL.")
@json_option
def command(
    scenario: str,
    overrides: tuple[str, ...],
    out: Path,
    repeat: int | None,
    into: str | None,
    retry_unfaithful: bool,
    scale: str | None,
    accept_unfaithful: bool,
    as_json: bool,
) -> None:
    """Run SCENARIO (a shipped one by name, or a YAML file) and compare its policies."""
    with output.failures(as_json):
        from testbed.experiment import record, sets
        from testbed.results import layout

        if retry_unfaithful and into is None:
            raise UsageError("--retry-unfaithful without --into", hint="--into names the set")
        layout.check_writable(out)
        known = None if into is None else layout.find_results(into, out)
        asked = record.load(scenario, scaled(pairs(overrides), scale), measure=output.note)
        finished: record.Finished | sets.Repeated
        with progress() as report:
            if known is None and repeat in (None, 1):
                finished = record.execute(asked, out, sys.argv, report)
            else:
                finished = sets.run(
                    asked, out, repeat, sys.argv, report, tell,
                    into=known, retry_unfaithful=retry_unfaithful,
                )  # fmt: skip
        output.result(finished.as_json(), finished.lines(), as_json=as_json)
    with output.failures(False):  # the one object of --json is out, and holds the verdict
        finished.judge(accept_unfaithful=accept_unfaithful)


def tell(status: Status) -> None:
    """One line for each run of several, with the time that is left."""
    parts = [f"run {status.done + 1} of {status.total}: {status.job.label}"]
    if status.left_s is not None:
        ends = time.strftime("%H:%M", time.localtime(time.time() + status.left_s))
        parts.append(f"{about(status.left_s)} left, until {ends}")
    if status.failed:
        parts.append(f"{status.failed} failed, and will be told at the end")
    output.note("; ".join(parts))


def about(time_s: float) -> str:
    """A time as nobody needs it more exactly: 40 s, 12 min, 3 h 20 min."""
    if time_s < 59.5:
        return f"{time_s:.0f} s"
    hours, minutes = divmod(round(time_s / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


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
