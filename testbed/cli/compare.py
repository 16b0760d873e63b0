"""`testbed compare`: runs beside each other, with intervals, and what of it is more than chance."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from testbed.cli import output
from testbed.cli.arguments import json_option

_EPILOG = """\b
Examples:
  testbed run demo --repeat 6 && testbed compare latest
  testbed compare 20261125-175959-demo 20261125-181500-demo --metric kv_load_bps --metric ttft_s
  testbed compare runs/fair runs/fifo --varies arbitration --json
"""


@click.command("compare", epilog=_EPILOG)
@click.argument("runs", nargs=-1, required=True, metavar="RUN [RUN]...")
@click.option(
    "--varies",
    multiple=True,
    metavar="KEY",
    help="A scenario key or section that is to differ; one key that differs need not be named.",
)
@click.option("--metric", "metrics", multiple=True, metavar="NAME", help="Show this metric only.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs"),
    show_default=True,
    help="Directory that run directories are looked for in, and the figures are written in.",
)
@click.option("--no-figures", is_flag=True, help="Write nothing.")
@click.option("--accept-unfaithful", is_flag=True, help="Compare runs whose verdict is FAIL, too.")
@json_option
def command(
    runs: tuple[str, ...],
    varies: tuple[str, ...],
    metrics: tuple[str, ...],
    out: Path,
    no_figures: bool,
    accept_unfaithful: bool,
    as_json: bool,
) -> None:
    """Compare RUNs (or sets of `run --repeat`, whose policies may be compared alone)."""
    with output.failures(as_json):
        from testbed.report.comparison import lines
        from testbed.report.several import write_comparison
        from testbed.results.compare import chosen, compare
        from testbed.results.layout import find_results

        found = compare(
            [find_results(run, out) for run in runs],
            varies=varies,
            accept_unfaithful=accept_unfaithful,
        )
        wanted = chosen(found, metrics)
        page = None if no_figures else write_comparison(found, wanted, out, sys.argv)
        told = found.as_json() | {
            "figures": None if page is None else str(page.parent),
            "report": None if page is None else str(page),
        }
        shown = [*lines(found, wanted), *([] if page is None else [f"report: {page}"])]
        output.result(told, shown, as_json=as_json)
