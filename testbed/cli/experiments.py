"""`testbed experiments`: the experiments that come along, and how long each takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from testbed.cli import output
from testbed.cli.arguments import json_option

if TYPE_CHECKING:
    from testbed.experiment.studies import Found

_EPILOG = """\b
Examples:
  testbed experiments
  testbed experiments --dir mine/
"""

directory_option = click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory of experiments; default scripts/experiments of the checkout.",
)


@click.command("experiments", epilog=_EPILOG)
@directory_option
@json_option
def command(directory: Path | None, as_json: bool) -> None:
    """List the experiments, with the minutes that each takes by itself on two quiet cores."""
    with output.failures(as_json):
        from testbed.experiment.studies import files, load

        known = [load(file) for file in files(directory).values()]
        output.result(
            {"experiments": [_row(each) for each in known]}, _lines(known), as_json=as_json
        )


def _row(each: Found) -> dict[str, object]:
    from testbed.experiment.studies import minutes
    from testbed.experiment.study import SIZES

    return {
        "name": each.name,
        "question": each.study.question,
        "source": each.study.source,
        "minutes": {size: minutes([each], size) for size in SIZES},
        "shares": each.study.shares._asdict(),
        "file": str(each.file),
    }


def _lines(known: list[Found]) -> list[str]:
    from testbed.experiment.studies import minutes
    from testbed.experiment.study import SIZES

    width = max(len(each.name) for each in known)
    lines = [f"{'':{width}}  quick  medium  full  minutes"]
    for each in known:
        alone = [minutes([each], size) for size in SIZES]
        lines.append(f"{each.name:{width}}  {_times(alone)}  {each.study.question}")
    total = [minutes(known, size) for size in SIZES]
    lines.append(
        f"{'all':{width}}  {_times(total)}  together: runs that studies share are made once"
    )
    return lines


def _times(minutes: Sequence[float]) -> str:
    quick, medium, full = (f"{each:.1f}" if each < 10 else f"{each:.0f}" for each in minutes)
    return f"{quick:>5}  {medium:>6}  {full:>4}"
