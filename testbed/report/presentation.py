"""What a workload says of its own figures, so that a report can show them to who never saw it.

A presentation is found by an entry point (group `testbed.presentations`) of the workload's name.
It is plain data in a module of its own: nothing of the workload is imported to write a report.
Without one a report has the verdict, the NICs, the machine and the tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from testbed.errors import ConflictError
from testbed.plugins import declared

GROUP = "testbed.presentations"


@dataclass(frozen=True)
class Phase:
    """A part of a request's life.

    Args:
        name: for people.
        until: column of the moment at which it ends; it began where the phase before ended.
        waiting: nothing is done for the request meanwhile.
        within: name and column (seconds) of what took a part of it, and is shown apart.
    """

    name: str
    until: str
    waiting: bool = False
    within: tuple[str, str] | None = None


@dataclass(frozen=True)
class Requests:
    """How requests are recorded.  A moment of 0 did not come.

    Args:
        began: column of the moment at which a request was submitted.
        answered: column of the moment that it waited for; the split of times ends there.
        phases: in order; those until `answered`, and what follows.
        table: that they are in.
        title: of the split, e.g. "Time to first token".
        kind: column that groups them.
        failed: column that is empty if the request ended well.
        tries: column with how often it was tried, if it is recorded.
        labels: columns that tell people which request it is.
    """

    began: str
    answered: str
    phases: tuple[Phase, ...]
    title: str
    table: str = "requests"
    kind: str = ""
    failed: str = "error"
    tries: str = ""
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lateness:
    """How late programs' own timers were, where that is recorded and judged.

    Args:
        title: for people.
        check: of the verdict, that judges it.
        table: that it is in.
        who: column that says whose timer it was.
        due: column of the moment at which it was due.
        late: column of how much later it came, seconds.
    """

    title: str
    check: str
    table: str = "loop_lags"
    who: str = "process"
    due: str = "t_s"
    late: str = "lag_s"


def _nothing(_: Mapping[str, Any]) -> list[str]:
    return []


@dataclass(frozen=True)
class Presentation:
    """What a report says of a kind of run.

    Args:
        answer: the figure of a variant's summary that answers the question.
        meaning: of that figure, in a sentence.
        requests: how requests are recorded, if there are any.
        words: names of figures -> what people say.
        values: what figures name (resources, say) -> what people say.
        glossary: terms that the page uses, and what they mean.
        tables: name of a list of rows in the summaries, or of a mapping of rows by their
            names -> (heading, what it is).
        lateness: of the programs' timers, if it is recorded.
        marks: kinds of events (table `events`) that are marked in the timelines.
        not_shown: what the workload's part of the emulation leaves out, and what follows.
        notes: what has to be known before the figures of a run (its run.json) are read.
    """

    answer: str = ""
    meaning: str = ""
    requests: Requests | None = None
    words: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)
    glossary: tuple[tuple[str, str], ...] = ()
    tables: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    lateness: Lateness | None = None
    marks: tuple[str, ...] = ()
    not_shown: tuple[tuple[str, str], ...] = ()
    notes: Callable[[Mapping[str, Any]], list[str]] = _nothing


def presentation_of(workload: str) -> Presentation:
    """The presentation of a workload; an empty one if none is installed.

    Raises:
        ConflictError: it is declared twice, or is not what it should be.
    """
    entry = declared(GROUP, "a presentation").get(workload)
    if entry is None:
        return Presentation()
    try:
        found = entry.load()
    except (ImportError, AttributeError) as error:
        raise ConflictError(
            f"the presentation of the workload {workload!r} cannot be imported: {error}",
            hint=f"it is {entry.value}: reinstall the distribution that it comes from",
        ) from error
    if not isinstance(found, Presentation):
        raise ConflictError(
            f"{entry.value} is no Presentation but a {type(found).__name__}",
            hint=f"the entry point {workload!r} of the group {GROUP} must name one",
        )
    return found
