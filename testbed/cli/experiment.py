"""`testbed experiment`: answer a study, or all of them, and write the page of the set."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from testbed.cli import output
from testbed.cli.arguments import json_option
from testbed.cli.experiments import directory_option

if TYPE_CHECKING:
    from testbed.experiment.studies import Found
    from testbed.experiment.study import Finding, Size

_EPILOG = """\b
Examples:
  testbed experiment fig8_pd_ratio --quick
  testbed experiment --all --quick
  testbed experiment mine.py --medium
  testbed experiment fig7_offline --medium --into experiments/20261125-180000

The page of the set, index.html, has each figure beside the paper's values.
"""


@click.command("experiment", epilog=_EPILOG)
@click.argument("names", nargs=-1, metavar="[NAME|FILE]…")
@click.option("--all", "everything", is_flag=True, help="All experiments, one after another.")
@click.option("--quick", is_flag=True, help="Minutes; jobs by their rate of turns.")
@click.option("--medium", is_flag=True, help="Longer, and repeated; jobs by every 8th turn; hours.")
@click.option("--full", is_flag=True, help="Whole trajectories, repeated; days.")
@click.option(
    "--repeat",
    type=click.IntRange(min=1),
    metavar="N",
    help="Run each scenario N times; default 1, in the larger sizes 3.",
)
@directory_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("experiments"),
    show_default=True,
    help="Directory that the set's directory is made in.",
)
@click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False),
    help="A set to add to, or to go on with; what it has run already is not run again.",
)
@click.option(
    "--retry-unfaithful", is_flag=True, help="With --into: run again what has the verdict FAIL."
)
@click.option("--accept-unfaithful", is_flag=True, help="Exit 0 even if a verdict is FAIL.")
@json_option
def command(
    names: tuple[str, ...],
    everything: bool,
    quick: bool,
    medium: bool,
    full: bool,
    repeat: int | None,
    directory: Path | None,
    out: Path,
    into: Path | None,
    retry_unfaithful: bool,
    accept_unfaithful: bool,
    as_json: bool,
) -> None:
    """Answer experiments: run what they need, compare it with the paper, write a page.

    The exit status is that of the runs' verdicts.  Whether figures are where the paper has them
    is in the table, and no reason to fail.
    """
    with output.failures(as_json):
        from testbed.cli.run import progress
        from testbed.errors import UsageError
        from testbed.experiment import answering, studies
        from testbed.report.attempt import attempt

        size = _size({"quick": quick, "medium": medium, "full": full})
        if everything == bool(names):
            raise UsageError(
                "give names of experiments, or --all", hint="`testbed experiments` lists them"
            )
        asked = list(studies.files(directory)) if everything else list(dict.fromkeys(names))
        found = [studies.find(name, directory) for name in asked]
        place = answering.new_set(out) if into is None else answering.set_at(into)
        _announce(found, size, repeat, place)
        with progress() as report:
            try:
                made = answering.answer(
                    found, size, place, sys.argv, report, _tell, repeat,
                    retry_unfaithful=retry_unfaithful,
                )  # fmt: skip
            except KeyboardInterrupt as ended:
                _write_what_there_is(place, ended)
                raise
        pages: list[Path] = []
        failed = attempt(
            lambda: pages.append(answering.write_page(place, sys.argv)),
            place,
            again="the same command with --into {path}",
        )
        output.result(_as_json(made, place, pages), _lines(made, pages), as_json=as_json)
    with output.failures(False):  # the one object of --json is out
        answering.judge(made, accept_unfaithful=accept_unfaithful)
        if failed is not None:
            raise failed


def _size(given: dict[Size, bool]) -> Size:
    from testbed.errors import UsageError

    sizes = [size for size, wanted in given.items() if wanted]
    if len(sizes) != 1:
        raise UsageError(
            f"{' and '.join(sizes)} exclude each other" if sizes else "no size was given",
            hint="say how much time there is: --quick, --medium or --full",
        )
    return sizes[0]


def _announce(found: list[Found], size: Size, repeat: int | None, place: Path) -> None:
    """What is begun, and about how long it takes: hours should not come as a surprise."""
    from testbed.cli.run import about
    from testbed.experiment.asking import REPEATS
    from testbed.experiment.studies import minutes

    took_s = 60 * minutes(found, size) * (repeat or REPEATS[size]) / REPEATS[size]
    number = f"{len(found)} experiments" if len(found) > 1 else found[0].name
    output.note(f"{number}, {size}: about {about(took_s)} on two quiet cores; the set is {place}")


def _write_what_there_is(place: Path, ended: KeyboardInterrupt) -> None:
    """The page of what has been found, if anything was."""
    from testbed.errors import NotFoundError
    from testbed.experiment import answering

    try:
        ended.add_note(f"what was found by then: {answering.write_page(place, sys.argv)}")
    except NotFoundError:
        pass  # nothing was
    except OSError as error:
        ended.add_note(f"the page of what was found by then was not written: {error}")


def _tell(finding: Finding) -> None:
    from testbed.experiment.table import summary

    output.note(
        f"{finding.name}: {finding.status}, {summary(finding)} ({finding.took_s / 60:.1f} min)"
    )


def _as_json(made: list[Finding], place: Path, pages: list[Path]) -> dict[str, Any]:
    from testbed.results.writer import plain

    return {
        "set": str(place),
        "page": next(map(str, pages), None),
        "experiments": [
            {**plain(each), "status": each.status, "inside": [row.inside for row in each.rows]}
            for each in made
        ],
    }


def _lines(made: list[Finding], pages: list[Path]) -> list[str]:
    from testbed.experiment.table import lines

    return [*(line for each in made for line in lines(each)), *map(str, pages)]
