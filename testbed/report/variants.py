"""The variants of a run as they were seen: their NICs over time, and their requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from testbed.report import requests
from testbed.report.bounds import Bound, of_processors, of_timers
from testbed.report.machine import Latest, Load, latest, load_of
from testbed.report.marks import Mark, marks_of
from testbed.report.presentation import Presentation
from testbed.report.series import Series, Span, Timeline, timeline
from testbed.results.load import RunData
from testbed.results.writer import VARIANT_COLUMN


@dataclass
class Variant:
    """One variant; times are time.monotonic() seconds.

    Args:
        span: the steady window, or None.
        started_s: when its programs were told to start.
        seen: its NICs over time.
        classes: of them, those that were used.
        idle: names of the others.
        rows: its requests; `waits` those that were answered in the window.
        marks: what is marked in its timelines.
        load: the machine's.
        late: how late its programs' timers were.
        asked_cpu, asked_lag: bounds on both, of the verdict's checks.
    """

    name: str
    span: Span | None
    started_s: float
    seen: Timeline
    classes: list[Series]
    idle: list[str]
    rows: pl.DataFrame | None
    waits: pl.DataFrame | None
    marks: list[Mark]
    load: Load | None
    late: Latest | None
    asked_cpu: list[Bound] = field(default_factory=list)
    asked_lag: list[Bound] = field(default_factory=list)

    @property
    def window(self) -> Span | None:
        """The steady window since the start."""
        if self.span is None:
            return None
        return self.span[0] - self.started_s, self.span[1] - self.started_s


def table_of(data: RunData, name: str) -> pl.DataFrame | None:
    """A table of a run, if it has it."""
    return data.table(name) if name in data.tables else None


def variants_of(data: RunData, presentation: Presentation) -> list[Variant]:
    """All variants of a run, in order."""
    found = [_variant(data, presentation, name, said) for name, said in data.policies.items()]
    seen_s = [each.load.lag_s for each in found if each.load is not None]
    seen_s += [each.late.late_s for each in found if each.late is not None]
    most_s = max((float(each.max()) for each in seen_s), default=0.0)
    checks = data.verdict.checks
    for each in found:
        each.asked_cpu = of_processors(checks, each.name)
        each.asked_lag = of_timers(checks, each.name, presentation.lateness, most_s)
    return found


def _variant(
    data: RunData, presentation: Presentation, name: str, said: Mapping[str, Any]
) -> Variant:
    window = said.get("window_s") or said.get("summary", {}).get("window_s")
    span = (float(window[0]), float(window[1])) if window else None
    nics, how = table_of(data, "nics"), presentation.requests
    seen = Timeline([], 0, 0, 1)
    if nics is not None:
        seen = timeline(nics, name, said.get("started_s"))
    table = None if how is None else table_of(data, how.table)
    rows = waits = None
    if how is not None and table is not None:
        rows = requests.rows_of(table, name, how)
        if how.answered in rows.columns:
            waits = requests.answered(rows, how, span)
    started_s = float(said.get("started_s") or _first_sample_s(nics, name))
    late = None
    if (judged := presentation.lateness) is not None:
        late = latest(table_of(data, judged.table), name, judged, started_s)
    return Variant(
        name,
        span,
        started_s,
        seen,
        [one for one in seen.classes if not one.idle],
        [one.name for one in seen.classes if one.idle],
        rows,
        waits,
        marks_of(table_of(data, "events"), name, presentation.marks, started_s),
        load_of(table_of(data, "machine"), name, started_s),
        late,
    )


def _first_sample_s(nics: pl.DataFrame | None, variant: str) -> float:
    if nics is None or nics.is_empty():
        return 0.0
    first = nics.filter(pl.col(VARIANT_COLUMN) == variant)["t_s"].min()
    return float(first) if isinstance(first, float) else 0.0
