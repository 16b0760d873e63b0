"""A run, as everything that its page says: figures drawn, tables filled, words found."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple

import polars as pl

from testbed.metrics import label
from testbed.report import bars, cluster, figures, requests, tables, zoomable
from testbed.report.presentation import Presentation
from testbed.report.series import (
    IDLE_SHARE,
    KINDS,
    MOST_PRINTED,
    Series,
    Span,
    Timeline,
    timeline,
    uses,
)
from testbed.report.svg import COLOURS
from testbed.report.words import Words, shown, spaced
from testbed.results.load import RunData

_LIMITS = (
    ("Pauses of a lossless fabric (PFC) and their spreading", "congestion looks milder"),
    ("DCQCN and other rate control of RDMA NICs", "rates settle faster"),
    ("Tails of microseconds", "nothing is seen below about a millisecond"),
    ("Exact switch arbitration", "shares are fairer than a switch's: see `arbitration`"),
    ("A lossless fabric: TCP without loss stands in for it", "ACKs take 0.4 % of the way back"),
    ("The size of packets: they are not scaled down with bytes", "short messages look slower"),
)
_MOST_REASONS = 6
_MOST_EVENTS = 12


class Tile(NamedTuple):
    """The answer of one variant."""

    variant: str
    value: str
    full_scale: str
    factor: str
    bound: str


@dataclass
class Variant:
    """What is drawn of one variant; times are time.monotonic() seconds.

    Args:
        span: the steady window, or None.
        started_s: when its programs were told to start.
        seen: its NICs over time.
        classes: of them, those that were used.
        idle: names of the others.
        rows: its requests; `waits` those that were answered in the window.
    """

    name: str
    span: Span | None
    started_s: float
    seen: Timeline
    classes: list[Series]
    idle: list[str]
    rows: pl.DataFrame | None
    waits: pl.DataFrame | None

    @property
    def window(self) -> Span | None:
        """The steady window since the start."""
        if self.span is None:
            return None
        return self.span[0] - self.started_s, self.span[1] - self.started_s


class Content:
    """What a page says of a run.

    Args:
        data: the run.
        presentation: of its workload.
    """

    def __init__(self, data: RunData, presentation: Presentation) -> None:
        self.data = data
        self.run = data.run
        self.presentation = presentation
        self.words = Words(presentation.words, presentation.values)
        self.summaries: dict[str, dict[str, Any]] = {
            name: said.get("summary", {}) for name, said in data.policies.items()
        }
        self.comparison: dict[str, Any] = self.run.get("comparison") or {}
        self.variants = [self._variant(name, said) for name, said in data.policies.items()]

    def _table(self, name: str) -> pl.DataFrame | None:
        return self.data.table(name) if name in self.data.tables else None

    def _variant(self, name: str, said: Mapping[str, Any]) -> Variant:
        window = said.get("window_s") or said.get("summary", {}).get("window_s")
        span = (float(window[0]), float(window[1])) if window else None
        nics, how = self._table("nics"), self.presentation.requests
        seen = (
            Timeline([], 0, 0, 1) if nics is None else timeline(nics, name, said.get("started_s"))
        )
        table = None if how is None else self._table(how.table)
        rows = None if table is None or how is None else requests.rows_of(table, name, how)
        waits = None
        if rows is not None and how is not None and how.answered in rows.columns:
            waits = requests.answered(rows, how, span)
        return Variant(
            name,
            span,
            float(said.get("started_s") or self._first_sample_s(name)),
            seen,
            [one for one in seen.classes if not one.idle],
            [one.name for one in seen.classes if one.idle],
            rows,
            waits,
        )

    def _first_sample_s(self, variant: str) -> float:
        nics = self._table("nics")
        if nics is None or nics.is_empty():
            return 0.0
        first = nics.filter(pl.col("policy") == variant)["t_s"].min()
        return float(first) if isinstance(first, float) else 0.0

    # --- words ---------------------------------------------------------------------------------

    @cached_property
    def reasons(self) -> tuple[list[str], list[str]]:
        """Why the verdict is FAIL: the first few, and the rest."""
        found = [spaced(reason) for reason in self.data.verdict.reasons]
        return found[:_MOST_REASONS], found[_MOST_REASONS:]

    @property
    def remarks(self) -> list[str]:
        """What the verdict says though it is no reason to doubt."""
        return [spaced(remark) for remark in self.data.verdict.remarks]

    @property
    def full_lines(self) -> str:
        """How fast the lines are that gauges and timelines are shares of."""
        nics = self._table("nics")
        if nics is None or "rate_bps" not in nics.columns:
            return ""
        known = nics.filter(pl.col("kind").is_in(list(KINDS)))
        rates = known.select("kind", "role", "rate_bps").unique().sort("kind", "role").rows()
        said = []
        for kind in dict.fromkeys(kind for kind, _, _ in rates):
            of_kind = [(role, rate) for other, role, rate in rates if other == kind]
            if len({rate for _, rate in of_kind}) == 1:
                said.append(f"{KINDS[kind]} {shown('_bps', of_kind[0][1])}")
            else:
                said += [f"{role} {KINDS[kind]} {shown('_bps', rate)}" for role, rate in of_kind]
        return ", ".join(said)

    @property
    def question(self) -> str:
        """What was asked."""
        return " ".join(str(self.run.get("scenario", {}).get("description") or "").split())

    @property
    def verified(self) -> str:
        """Bytes that were compared with what they should be; empty if none were."""
        size = self.comparison.get("bytes_verified")
        return shown("_bytes", size) if size else ""

    @property
    def windowed(self) -> bool:
        """Whether there is a steady window to speak of."""
        return any(v.span is not None for v in self.variants)

    @property
    def when(self) -> str:
        """When it ran, and for how long."""
        started = str(self.run.get("started", ""))
        try:
            began = datetime.fromisoformat(started)
        except ValueError:
            return started
        said = f"{began:%d %B %Y, %H:%M} {began.tzname() or ''}".strip().lstrip("0")
        if ended := self.run.get("ended"):
            took_s = (datetime.fromisoformat(ended) - began).total_seconds()
            said += ", " + shown("_s", round(took_s, 1)) + " in all"
        return said

    @property
    def tiles(self) -> list[Tile]:
        """The answer, variant by variant."""
        name = self.presentation.answer
        if not any(summary.get(name) is not None for summary in self.summaries.values()):
            return []
        found = []
        speedups = self.comparison.get("speedup", {})
        predicted = self.run.get("predicted", {}).get("policies", {})
        first = next(iter(self.summaries), "")
        for variant, summary in self.summaries.items():
            said = ""
            factor = speedups.get(variant, {}).get(name)
            if factor is not None and variant != first:
                said = f"{shown('speedup', factor)} {first}"
            foreseen = predicted.get(variant, {}).get("speedup")
            if foreseen is not None and variant != first:
                said += f" (predicted {shown('speedup', foreseen)})"
            bound = self.words.value("bound_by", summary.get("bound_by"))
            full = summary.get(f"{name}_full_scale")
            found.append(
                Tile(
                    variant,
                    shown(name, summary.get(name)),
                    "" if full is None else f"{shown(name, full)} at full scale",
                    said,
                    f"bound by {bound}" if summary.get("bound_by") else "",
                )
            )
        return found

    @property
    def command(self) -> str:
        """The command line that was given."""
        return "testbed " + shlex.join(self.run.get("command", [""])[1:])

    @property
    def provenance(self) -> list[tuple[str, str]]:
        """Where and with what it ran."""
        run = self.run
        machine, kernel, git = (run.get(key) or {} for key in ("machine", "kernel", "git"))
        versions = ", ".join(
            f"{name} {version}" for name, version in run.get("versions", {}).items()
        )
        load = (machine.get("load_average") or [None])[0]
        return [
            ("scenario", f"{run['name']}, seed {run.get('seed')}"),
            ("machine", f"{machine.get('cpu_model')}, {machine.get('cores')} cores, "
             f"{shown('_bytes', machine.get('memory_bytes'))} of memory, load "
             f"{shown('load', load)} at the start"),
            ("kernel", f"Linux {kernel.get('release')} {kernel.get('architecture', '')}"),
            ("source", f"commit {git.get('commit')}{', with changes' if git.get('dirty') else ''}"
             if git else "no checkout"),
            ("versions", versions),
            ("layout", f"version {run.get('layout_version')}"),
        ]  # fmt: skip

    @property
    def scenario(self) -> str:
        """The scenario, whole."""
        return json.dumps(self.run.get("scenario", {}), indent=2, ensure_ascii=False)

    @property
    def limits(self) -> list[tuple[str, str]]:
        """What the emulation leaves out."""
        return [*_LIMITS, *self.presentation.not_shown]

    @property
    def events(self) -> tables.Table | None:
        """What should not pass unseen, by kind."""
        table = self._table("events")
        if (
            table is None
            or not {"kind", "detail", "policy"} <= set(table.columns)
            or not len(table)
        ):
            return None
        grouped = table.group_by(["policy", "kind"], maintain_order=True).agg(
            pl.len().alias("count"), pl.col("detail").first()
        )
        rows = [
            [f"{row['policy']}: {row['kind']}", str(row["count"]), row["detail"]]
            for row in grouped.head(_MOST_EVENTS).iter_rows(named=True)
        ]
        return tables.Table(["event", "times", "the first"], rows, numeric=9)

    @property
    def contents(self) -> list[tuple[str, str]]:
        """The sections that the page has: id and heading."""
        return [
            *([("answer", "Answer")] if self.tiles else []),
            *(
                [("predicted", "Predicted and measured")]
                if self.predicted.rows or self.caps
                else []
            ),
            *([("cluster", "Cluster")] if self.clusters else []),
            *([("timelines", "Over time")] if self.payload or self.statics else []),
            *([("requests", "Requests")] if self.splits else []),
            ("figures", "All figures"),
            ("checks", "Checks"),
            *([("terms", "Terms")] if self.presentation.glossary else []),
            ("limits", "What it cannot show"),
            ("again", "To do it again"),
        ]

    # --- tables --------------------------------------------------------------------------------

    @cached_property
    def more_tables(self) -> list[tables.Table]:
        """Lists of rows in the summaries."""
        titled = self.presentation.tables
        found = (
            tables.of_rows(name, self.summaries, titled, self.words)
            for name in tables.lists_of_rows(self.summaries)
        )
        return [table for table in found if table is not None]

    @cached_property
    def predicted(self) -> tables.Table:
        """What was predicted of each variant, and what was measured."""
        return tables.foreseen(self.run, self.summaries, self.words)

    @property
    def check_rows(self) -> list[tables.CheckRow]:
        """The checks, those that did not hold first."""
        return tables.checks(self.data.verdict.checks, list(self.summaries))

    # --- figures -------------------------------------------------------------------------------

    @cached_property
    def clusters(self) -> dict[str, str]:
        """Variant -> the cluster under it."""
        nics = self._table("nics")
        if nics is None:
            return {}
        found = {v.name: uses(nics, v.name, v.span) for v in self.variants}
        links = [(a, b) for a, b in (self.run.get("topology") or {}).get("links", [])]
        return {name: cluster.draw(each, name, links) for name, each in found.items() if each}

    @cached_property
    def caps(self) -> str:
        """The caps, and what was reached."""
        limits = self.comparison.get("caps_turns_per_s") or {}
        if not limits:
            return ""
        predicted = self.run.get("predicted", {}).get("policies", {})
        say = self.words.value
        return bars.caps(
            {say("", name): cap for name, cap in limits.items()},
            {name: each.get("turns_per_s") for name, each in predicted.items()},
            {name: each.get("turns_per_s") for name, each in self.summaries.items()},
            {
                name: say("", each["bound_by"])
                for name, each in self.summaries.items()
                if each.get("bound_by")
            },
        )

    @cached_property
    def modelled_caps(self) -> str:
        """What the caps would be if engines computed."""
        caps = self.comparison.get("modelled_caps_turns_per_s") or {}
        return ", ".join(
            f"{self.words.value('', name)} {shown('_per_s', cap)}" for name, cap in caps.items()
        )

    @cached_property
    def splits(self) -> dict[str, list[requests.Split]]:
        """Variant -> where the time to the answer went."""
        how = self.presentation.requests
        if how is None:
            return {}
        found = {
            v.name: requests.splits(v.waits, how) for v in self.variants if v.waits is not None
        }
        return {name: each for name, each in found.items() if each}

    @property
    def split(self) -> str:
        """The same, drawn."""
        return bars.split(self.splits)

    @property
    def split_table(self) -> tables.Table:
        """The same, in figures."""
        names = [p.name for each in self.splits.values() for s in each[:1] for p in s.parts]
        rows = [
            [f"{variant}, {one.of}", *(shown("_s", part.seconds) for part in one.parts),
             shown("_s", one.seconds)]
            for variant, each in self.splits.items()
            for one in each
        ]  # fmt: skip
        stretch = (self.comparison.get("scale") or {}).get("stretch")
        if not stretch:
            return tables.Table(["", *dict.fromkeys(names), "sum"], rows)
        for row, one in zip(rows, (s for each in self.splits.values() for s in each), strict=True):
            row.append(shown("_s", one.seconds / stretch))
        return tables.Table(["", *dict.fromkeys(names), "sum", "sum, full scale"], rows)

    @property
    def parts(self) -> list[tuple[str, str, float, bool]]:
        """The legend of a request's time: name, colour, opacity, whether it is waiting."""
        how = self.presentation.requests
        if how is None:
            return []
        row = {how.began: 0.0}
        return [
            (
                part.name,
                f"var(--{bars.part_colour(number)[0]})",
                bars.part_colour(number)[1],
                part.waiting,
            )
            for number, part in enumerate(requests.parts(row, how))
        ]

    @cached_property
    def waterfalls(self) -> dict[str, str]:
        """Variant -> chosen requests, phase by phase."""
        how = self.presentation.requests
        found = {}
        for variant in self.variants:
            if how is None or variant.rows is None or variant.waits is None:
                continue
            chosen = requests.choose(variant.rows, variant.waits, how)
            labels = {number: (one.why, self._told(one)) for number, one in enumerate(chosen)}
            answer = len(requests.parts({how.began: 0.0}, how, until_answer=True))
            if drawn := bars.waterfall(chosen, labels, answer):
                found[variant.name] = drawn
        return found

    def _told(self, one: requests.Chosen) -> str:
        how = self.presentation.requests
        assert how is not None
        said = [
            f"{label(column)} {value:,}"
            if isinstance(value := one.row[column], int)
            else f"{label(column)} {value}"
            for column in how.labels
            if column in one.row and one.row[column] not in (None, "")
        ]
        if one.row.get(how.tries) and one.row[how.tries] > 1:
            said.append(f"{one.row[how.tries]} tries")
        if one.row[how.failed]:
            said.append(str(one.row[how.failed])[:120])
        return " · ".join(said)

    @cached_property
    def statics(self) -> dict[str, str]:
        """Figures by matplotlib: printed, and files of the run directory."""
        found = {}
        nics, how = self._table("nics"), self.presentation.requests
        if nics is not None:
            found["nic_timelines"] = figures.timelines(
                {v.name: self._printed(v, nics) for v in self.variants},
                {v.name: v.window for v in self.variants},
            )
            found["nic_utilisation"] = figures.utilisation(
                {v.name: uses(nics, v.name, v.span) for v in self.variants}
            )
        if how is not None and any(v.waits is not None for v in self.variants):
            found["waits"] = figures.waits(
                {v.name: v.waits for v in self.variants if v.waits is not None}, how.title
            )
        return found

    @staticmethod
    def _printed(variant: Variant, nics: pl.DataFrame) -> list[Series]:
        """The classes that are drawn, in intervals that can be told apart on paper."""
        if len(variant.seen.classes) and len(variant.seen.classes[0].times_s) <= MOST_PRINTED:
            return variant.classes
        coarse = timeline(nics, variant.name, variant.started_s, MOST_PRINTED).classes
        return [one for one in coarse if one.name not in variant.idle]

    @cached_property
    def payload(self) -> str:
        """The data of the timelines that can be zoomed; empty if there is nothing."""
        how, machine = self.presentation.requests, self._table("machine")
        panels, kinds = [], dict[str, None]()
        for v in self.variants:
            points = None
            if how is not None and v.rows is not None and v.waits is not None:
                points, _ = requests.over_time(v.rows, how)
                kinds |= dict.fromkeys(points["kind"].unique().sort())
            panels.append(zoomable.panel(v.name, v.classes, v.window, points, machine, v.started_s))
        if not any(panel["series"] for panel in panels):
            return ""
        return zoomable.payload(panels, sorted(kinds), "" if how is None else how.title)

    @property
    def thinning(self) -> list[str]:
        """What the timelines leave out, in sentences."""
        said = []
        how = self.presentation.requests
        for v in self.variants:
            if v.seen.late:
                said.append(
                    f"{v.name}: {v.seen.late} of {v.seen.readings} readings came late and are "
                    "passed over: rates are means over both intervals."
                )
            if (k := v.seen.together) > 1:
                said.append(
                    f"{v.name}: {k} readings are taken together; rates are their means, queues "
                    "the longest of them."
                )
            if how is not None and v.rows is not None and v.waits is not None:
                points, total = requests.over_time(v.rows, how)
                if len(points) < total:
                    said.append(
                        f"{v.name}: {len(points):,} of {total:,} requests are drawn: all that "
                        "failed, the slowest hundredth, and of the rest one in "
                        f"{requests.one_in(total)}."
                    )
        idle = [set(v.idle) for v in self.variants]
        if idle and (never := sorted(set.intersection(*idle))):
            said.append(
                f"Below {IDLE_SHARE:.1%} of the line throughout, and not drawn: {', '.join(never)}."
            )
        return said

    @property
    def palette(self) -> dict[str, tuple[str, str]]:
        """Colours for the style sheet: name -> (light, dark)."""
        return COLOURS
