"""`testbed report`: write the page of a run, a set or a sweep again, from its directory alone."""

from __future__ import annotations

from pathlib import Path

import click

from testbed.cli import output
from testbed.cli.arguments import json_option, runs_option


@click.command("report")
@click.argument("run", default="latest")
@runs_option
@json_option
def command(run: str, out: Path, as_json: bool) -> None:
    """Write the report of RUN: a run, a set or a sweep (a path, a part of its name, `latest`)."""
    with output.failures(as_json):
        from testbed.report.page import write_report
        from testbed.results.layout import find_results

        path = find_results(run, out)
        page = write_report(path)
        output.result({"run": str(path), "report": str(page)}, [str(page)], as_json=as_json)
