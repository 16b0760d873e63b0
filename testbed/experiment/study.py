"""A study: one question, the runs that answer it, and what a paper says beside what came out.

A study is a Python file with a docstring (what it reproduces, what to expect and why) and a line

    STUDY = Study("A question?", "DualPath, figure 8", Minutes(2, 9, 40), answer)

`answer(ask)` makes runs by `ask` (`testbed.experiment.asking`) and returns an `Answer`: rows of the
table *paper | expected here | measured with interval | inside?*, and charts.  Whether a figure is
where the paper has it is a column of that table.  It is never a check of a run: a verdict says
whether figures may be believed, and no more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import msgspec

from testbed.results.charts import Chart
from testbed.results.intervals import Interval

if TYPE_CHECKING:
    from testbed.experiment.asking import Asking

Size: TypeAlias = Literal["quick", "medium", "full"]
SIZES: tuple[Size, ...] = ("quick", "medium", "full")
Inside: TypeAlias = Literal["yes", "no", "unsure"]


class Minutes(NamedTuple):
    """How long a study's own runs of each size take on two quiet cores, bring-up and all."""

    quick: float
    medium: float
    full: float

    def of(self, size: Size) -> float:
        """Those of one size."""
        return {"quick": self.quick, "medium": self.medium, "full": self.full}[size]


class Shares(NamedTuple):
    """The study whose runs another one looks at as well, in each size; empty where it has none."""

    quick: str = ""
    medium: str = ""
    full: str = ""

    def of(self, size: Size) -> str:
        """That of one size."""
        return {"quick": self.quick, "medium": self.medium, "full": self.full}[size]


def always(study: str) -> Shares:
    """The same study in every size."""
    return Shares(study, study, study)


class Expected(msgspec.Struct, frozen=True):
    """Where a figure should come out *here*, which is not always where the paper has it.

    Args:
        low, high: both ends count as inside; None where there is no end.
    """

    low: float | None = None
    high: float | None = None


def about(value: float, share: float) -> Expected:
    """A value, give or take a share of it."""
    return Expected(value * (1 - share), value * (1 + share))


class Row(msgspec.Struct, frozen=True):
    """One figure of the table.

    Args:
        what: in words.
        measured: with its interval, or a word; None where the runs do not say.
        expected: a range, or the same word; None where nothing was foreseen.
        paper: what the paper has, in the same unit; None where it has nothing.
        unit: of all three; "×" for a ratio.
        note: why they differ, or what the figure rests on ("fitted").
    """

    what: str
    measured: Interval | str | None
    expected: Expected | str | None = None
    paper: float | str | None = None
    unit: str = ""
    note: str = ""

    @property
    def inside(self) -> Inside | None:
        """Whether what was measured is where it was expected; None if nothing can be compared.

        "unsure" where the interval reaches over an end of the range: more runs would tell.
        """
        if self.measured is None or self.expected is None:
            return None
        if isinstance(self.measured, str) or isinstance(self.expected, str):
            return "yes" if self.measured == self.expected else "no"
        spread = [self.measured.low, self.measured.value, self.measured.high]
        inside = {_within(each, self.expected) for each in spread if each is not None}
        if inside == {False} and _spans(self.measured, self.expected):
            return "unsure"  # wider than the range, and the estimate beside it
        return "unsure" if len(inside) == 2 else ("yes" if inside == {True} else "no")

    @property
    def off_expected(self) -> float | None:
        """How far the estimate is from the range, as a share of its nearer end; 0 inside it."""
        if not isinstance(self.measured, Interval) or not isinstance(self.expected, Expected):
            return None
        value, low, high = self.measured.value, self.expected.low, self.expected.high
        if low is not None and value < low:
            return (value - low) / abs(low) if low else None
        if high is not None and value > high:
            return (value - high) / abs(high) if high else None
        return 0.0

    @property
    def off_paper(self) -> float | None:
        """How far the estimate is from the paper's value, as a share of that."""
        if not isinstance(self.measured, Interval) or isinstance(self.paper, str):
            return None
        return None if not self.paper else self.measured.value / self.paper - 1


def _within(value: float, expected: Expected) -> bool:
    return (expected.low is None or value >= expected.low) and (
        expected.high is None or value <= expected.high
    )


def _spans(measured: Interval, expected: Expected) -> bool:
    low = expected.low if expected.low is not None else expected.high
    high = expected.high if expected.high is not None else expected.low
    if measured.low is None or measured.high is None or low is None or high is None:
        return False
    return measured.low < low and measured.high > high


class Answer(msgspec.Struct, frozen=True):
    """What a study found.

    Args:
        rows: of the table.
        charts: with the paper's axes.
        notes: what to know of these figures, a sentence each.
        data: what the charts and rows were made of, for whoever wants to go on with it.
    """

    rows: list[Row]
    charts: list[Chart] = []
    notes: list[str] = []
    data: dict[str, object] = {}


def finite(answer: Answer) -> Answer:
    """The same without figures that are no finite numbers: they are nothing that was measured."""
    return msgspec.structs.replace(answer, rows=[_finite(row) for row in answer.rows])


def _finite(row: Row) -> Row:
    found = row.measured
    if not isinstance(found, Interval):
        return row
    if not math.isfinite(found.value):
        note = "; ".join(filter(None, [row.note, f"came out as {found.value}"]))
        return msgspec.structs.replace(row, measured=None, note=note)
    ends = [
        None if end is None or not math.isfinite(end) else end for end in (found.low, found.high)
    ]
    return msgspec.structs.replace(
        row, measured=msgspec.structs.replace(found, low=ends[0], high=ends[1])
    )


class Study(NamedTuple):
    """What a file declares; its name is the file's, its description the file's docstring.

    Args:
        question: in one line.
        source: where the figures to compare with come from.
        minutes: of the runs that no other study makes.
        answer: makes the runs.
        shares: the study whose runs it looks at as well; in a set they are made once.
    """

    question: str
    source: str
    minutes: Minutes
    answer: Callable[[Asking], Answer]
    shares: Shares = Shares()


class Evidence(msgspec.Struct, frozen=True):
    """A run that a study rests on.

    Args:
        run: its directory's name; of a measurement without a run directory, what it measured.
        status, reasons: its verdict.
    """

    run: str
    status: Literal["PASS", "FAIL"]
    reasons: list[str]


class Finding(msgspec.Struct, frozen=True):
    """A study that has been done: what `study.json` holds.

    Args:
        name: of the study.
        about: the docstring of its file.
        took_s: seconds.
        failed: why there is no answer; empty where there is one.
        figures: names of the files of its charts, without their endings.
    """

    name: str
    question: str
    source: str
    about: str
    size: Size
    took_s: float
    evidence: list[Evidence]
    rows: list[Row]
    notes: list[str]
    figures: list[str]
    failed: str = ""

    @property
    def status(self) -> Literal["PASS", "FAIL"]:
        """PASS only if there is an answer, and every run that it rests on passed."""
        sound = not self.failed and all(each.status == "PASS" for each in self.evidence)
        return "PASS" if sound else "FAIL"

    def count(self, inside: Inside) -> int:
        """Rows that are so."""
        return sum(row.inside == inside for row in self.rows)
