"""`testbed export`: the tables of runs as files for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from testbed.cli import output
from testbed.cli.arguments import json_option, runs_option

_EPILOG = """\b
Examples:
  testbed export latest                       every table, as CSV, in ./NAME-csv
  testbed export agents --table summary       a sweep: a row for each run and policy
  testbed export latest --table requests --format parquet --to /tmp/mine
"""


@click.command("export", epilog=_EPILOG)
@click.argument("run", default="latest")
@click.option("--table", "names", multiple=True, metavar="NAME", help="Only this one.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["csv", "parquet"]),
    default="csv",
    show_default=True,
    help="Of the files.",
)
@click.option(
    "--to",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="Directory for the files  [default: NAME-FORMAT, in this one]",
)
@runs_option
@json_option
def command(
    run: str,
    names: tuple[str, ...],
    kind: Literal["csv", "parquet"],
    to: Path | None,
    out: Path,
    as_json: bool,
) -> None:
    """Write the tables of RUN (a run, a set or a sweep) as CSV or Parquet."""
    with output.failures(as_json):
        from testbed.results.export import export
        from testbed.results.layout import find_results

        path = find_results(run, out)
        written = export(path, names, to or Path(f"{path.name}-{kind}"), kind)
        output.result(
            {"run": str(path), "files": [str(file) for file in written]},
            [str(file) for file in written],
            as_json=as_json,
        )
