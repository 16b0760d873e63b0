"""Answering studies: each becomes a directory with its data, figures and table; all of them a page.

What a set of studies leaves in its directory:

    DIR/index.html        the page of the set
    DIR/runs/             the runs of all studies
    DIR/NAME/study.json   a study: evidence, rows, notes
    DIR/NAME/table.md     the rows as Markdown
    DIR/NAME/data.json    what its figures were made of
    DIR/NAME/*.svg, *.pdf
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from testbed import interrupts
from testbed.errors import (
    ConflictError,
    NotFoundError,
    ProgramError,
    TestbedError,
    UnfaithfulError,
    UsageError,
)
from testbed.experiment.asking import Asking, Runs
from testbed.experiment.rounds import alone
from testbed.experiment.runner import Progress
from testbed.experiment.studies import Found, by_number
from testbed.experiment.study import Answer, Finding, Size, finite
from testbed.results import layout
from testbed.results.writer import write_json

STUDY, TABLE, DATA, RUNS = "study.json", "table.md", "data.json", "runs"


def new_set(out: Path) -> Path:
    """Make the directory of a set of studies.

    Raises:
        UsageError: it cannot be made.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for attempt in range(1, 100):
        path = out / f"{stamp}{f'-{attempt}' if attempt > 1 else ''}"
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            if out.exists() and not out.is_dir():
                break
            continue
        except OSError as error:
            raise UsageError(
                f"the directory {path} cannot be made: {error.strerror}",
                hint="choose a directory of yours with --out",
            ) from None
        return path
    raise ConflictError(f"no directory can be made in {out}", hint="choose another with --out")


def set_at(path: Path) -> Path:
    """The directory of a set, made if it is not there.

    Raises:
        UsageError: it cannot be made, or it is not a set's.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"the directory {path} cannot be made: {error.strerror}",
            hint="give another with --into",
        ) from None
    if any((path / file).is_file() for file in (layout.RUN, layout.SET, layout.SWEEP)):
        raise UsageError(
            f"{path} holds runs, not experiments", hint="give --into the directory of a set"
        )
    return path


def answer(
    found: Sequence[Found],
    size: Size,
    directory: Path,
    argv: list[str],
    report: Callable[[Progress], None],
    done: Callable[[Finding], None],
    repeat: int | None = None,
    *,
    retry_unfaithful: bool = False,
) -> list[Finding]:
    """Answer studies one after another.

    A study that fails does not hide the next one: why is in its finding.

    Args:
        found: what is asked.
        size: of all of them.
        directory: of the set.
        argv: the command line.
        report: called with progress.
        done: called with each finding, when it has been written.
        repeat: how often scenarios are run, if not as the size says.
        retry_unfaithful: runs of the set whose verdict is FAIL are made again.

    Raises:
        ConflictError: somebody else is at this set.
        NotFoundError: a run or an answer of this set cannot be read.
        KeyboardInterrupt: the user ended it; runs that are complete, and what was found by then,
            are there.
    """
    findings: list[Finding] = []
    try:
        with alone(directory):
            for file in directory.glob(f"*/{STUDY}"):
                _finding(file)  # what could not be put on the page is said before hours of runs
            runs = Runs(directory / RUNS, argv, report, retry_unfaithful=retry_unfaithful)
            for each in found:
                interrupts.check()
                finding = _answered(each, Asking(each.name, size, runs, repeat), directory)
                findings.append(finding)
                done(finding)
    except KeyboardInterrupt as ended:
        ended.add_note(
            f"{len(findings)} of {len(found)} experiments have an answer; the same command with "
            f"--into {directory} makes no run again that is complete"
        )
        raise
    return findings


def _answered(each: Found, ask: Asking, directory: Path) -> Finding:
    began_s = time.monotonic()
    place = directory / each.name
    place.mkdir(exist_ok=True)
    failed, answered = "", Answer([])
    try:
        answered = finite(each.study.answer(ask))
        _write_data(place, answered)
    except TestbedError as error:
        failed = str(error)
    except Exception as error:  # a defect of one study is not to cost the others their time
        interrupts.check()  # or what somebody's code has made of a KeyboardInterrupt
        traceback.print_exc()
        failed = f"a defect of the study: {type(error).__name__}: {error}"
    finding = Finding(
        each.name,
        each.study.question,
        each.study.source,
        each.about,
        ask.size,
        time.monotonic() - began_s,
        ask.evidence,
        answered.rows,
        answered.notes,
        [] if failed else [chart.name for chart in answered.charts],
        failed,
    )
    _write_finding(place, finding)
    return finding


def _write_data(place: Path, answered: Answer) -> None:
    from testbed.report.charts import draw  # matplotlib: not for a list

    charts = {chart.name: chart for chart in answered.charts}
    write_json(place / DATA, {"charts": charts, **answered.data})
    draw(answered.charts, place)


def _write_finding(place: Path, finding: Finding) -> None:
    from testbed.experiment.table import markdown

    (place / TABLE).write_text(markdown(finding))
    write_json(place / STUDY, finding)


def findings(directory: Path) -> list[Finding]:
    """All studies of a set, by name.

    Raises:
        NotFoundError: there is none, or one cannot be read.
    """
    files = sorted(directory.glob(f"*/{STUDY}"), key=lambda file: by_number(file.parent))
    if not files:
        raise NotFoundError(
            f"{directory} holds no study", hint="`testbed experiment` makes one, in experiments/"
        )
    return [_finding(file) for file in files]


def _finding(file: Path) -> Finding:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Finding)
    except msgspec.DecodeError as error:
        raise NotFoundError(
            f"{file} is no answer that can be read: {error}",
            hint=f"take {file.parent} away: what it was made of is in {RUNS}/, and answering "
            "the experiment again runs nothing that is there",
        ) from None


def write_page(directory: Path, argv: Sequence[str]) -> Path:
    """Write the page of all studies of a set."""
    from testbed.experiment import table
    from testbed.report.studies import write_page

    return write_page(
        directory,
        findings(directory),
        headings=table.HEADINGS,
        shown=table.shown,
        summary=table.summary,
        command=" ".join([Path(argv[0]).name, *argv[1:]]),
    )


def judge(found: Sequence[Finding], *, accept_unfaithful: bool = False) -> None:
    """Return only if every study has an answer that rests on runs that may be believed.

    Raises:
        UnfaithfulError: a verdict is FAIL, unless that is accepted.
        ProgramError: a study has no answer.
    """
    silent = [each for each in found if each.failed]
    if silent:
        raise ProgramError(
            f"{len(silent)} of {len(found)} experiments have no answer, "
            f"the first is {silent[0].name}: {silent[0].failed.splitlines()[0]}",
            hint="the page of the set says why, each in its section",
        )
    doubtful = [each for each in found if each.status == "FAIL"]
    if doubtful and not accept_unfaithful:
        reasons = [reason for each in doubtful[0].evidence for reason in each.reasons]
        raise UnfaithfulError(
            f"runs of {len(doubtful)} of {len(found)} experiments have the verdict FAIL: "
            f"{', '.join(each.name for each in doubtful)}; "
            f"the first reason: {reasons[0] if reasons else 'none was given'}",
            hint="the page of the set has all reasons; --accept-unfaithful exits 0 all the same",
        )
