"""A run, as what its page says in words and tables; what it draws is `testbed.report.drawn`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple

import polars as pl

from testbed.report import tables
from testbed.report.drawn import Drawn
from testbed.report.presentation import Presentation
from testbed.report.series import KINDS
from testbed.report.variants import table_of
from testbed.report.words import Words, bound_by, shown, spaced
from testbed.results.load import RunData

_LIMITS = (
    ("Pauses of a lossless fabric (PFC) and their spreading", "congestion looks milder"),
    ("DCQCN and other rate control of RDMA NICs", "rates settle faster"),
    ("Tails of microseconds", "nothing is seen below about a millisecond"),
    (
        "Exact switch arbitration",
        "shares are fairer than a switch's; the setting arbitration changes that",
    ),
    ("A lossless fabric: TCP without loss stands in for it", "ACKs take 0.4 % of the way back"),
    ("The size of packets: they are not scaled down with bytes", "short messages look slower"),
)
_MOST_REASONS = 6
_MOST_EVENTS = 12


class Tile(NamedTuple):
    """The answer of one variant."""

    variant: str
    value: str
    interval: str
    full_scale: str
    factor: str
    bound: str


def when(run: Mapping[str, Any]) -> str:
    """When a run began."""
    started = str(run.get("started", ""))
    try:
        began = datetime.fromisoformat(started)
    except ValueError:
        return started
    return f"{began:%d %B %Y, %H:%M} {began.tzname() or ''}".strip().lstrip("0")


def provenance(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Where and with what a run was made."""
    machine, kernel, git = (run.get(key) or {} for key in ("machine", "kernel", "git"))
    versions = ", ".join(f"{name} {version}" for name, version in run.get("versions", {}).items())
    load = (machine.get("load_average") or [None])[0]
    return [
        ("machine", f"{machine.get('cpu_model')}, {machine.get('cores')} cores, "
         f"{shown('_bytes', machine.get('memory_bytes'))} of memory, load {shown('load', load)} at "
         "the start"),
        ("kernel", f"Linux {kernel.get('release')} {kernel.get('architecture', '')}"),
        ("source", f"commit {git.get('commit')}{', with changes' if git.get('dirty') else ''}"
         if git else "no checkout"),
        ("versions", versions),
        ("layout", f"version {run.get('layout_version')}"),
    ]  # fmt: skip


def scenario_text(run: Mapping[str, Any]) -> str:
    """The scenario of a run, whole."""
    return json.dumps(run.get("scenario", {}), indent=2, ensure_ascii=False)


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
        self.drawn = Drawn(data, presentation, self.words)

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
        nics = table_of(self.data, "nics")
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
        return any(v.span is not None for v in self.drawn.variants)

    @property
    def when(self) -> str:
        """When it ran, and for how long."""
        said = when(self.run)
        if (ended := self.run.get("ended")) and (started := self.run.get("started")):
            took = datetime.fromisoformat(ended) - datetime.fromisoformat(started)
            said += ", " + shown("_s", round(took.total_seconds(), 1)) + " in all"
        return said

    @property
    def answer(self) -> str:
        """What the tiles are of."""
        return self.words.figure(self.presentation.answer)

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
            bound = bound_by(summary, self.words)
            full = summary.get(f"{name}_full_scale")
            found.append(
                Tile(
                    variant,
                    shown(name, summary.get(name)),
                    tables.interval(name, summary),
                    "" if full is None else f"{shown(name, full)} at full scale",
                    said,
                    f"bound by {bound}" if bound else "",
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
        return [
            ("scenario", f"{self.run['name']}, seed {self.run.get('seed')}"),
            *provenance(self.run),
        ]

    @property
    def scenario(self) -> str:
        """The scenario, whole."""
        return scenario_text(self.run)

    @property
    def limits(self) -> list[tuple[str, str]]:
        """What the emulation leaves out."""
        return [*_LIMITS, *self.presentation.not_shown]

    @property
    def events(self) -> tables.Table | None:
        """What should not pass unseen, by kind."""
        table = table_of(self.data, "events")
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
                if self.predicted.rows or self.drawn.caps
                else []
            ),
            *([("cluster", "Cluster")] if self.drawn.clusters else []),
            *([("timelines", "Over time")] if self.drawn.payload or self.drawn.statics else []),
            *([("requests", "Requests")] if self.drawn.splits else []),
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
            for name in tables.tabled(self.summaries, titled)
        )
        return [table for table in found if table is not None]

    @property
    def figures(self) -> tables.Table:
        """All figures that are in no other table."""
        apart = tables.tabled(self.summaries, self.presentation.tables)
        return tables.figures(self.summaries, self.words, apart)

    @cached_property
    def calibration(self) -> tables.Table:
        """The links before the load."""
        return tables.calibration(self.run)

    @property
    def calibration_failed(self) -> bool:
        """Whether a link was not what it should be."""
        checks = self.data.verdict.checks
        return any(c.ok is not True for c in checks if c.name == "links calibrated")

    @cached_property
    def predicted(self) -> tables.Table:
        """What was predicted of each variant, and what was measured."""
        return tables.foreseen(self.run, self.summaries, self.words)

    @property
    def check_rows(self) -> list[tables.CheckRow]:
        """The checks, those that did not hold first."""
        return tables.checks(self.data.verdict.checks, list(self.summaries))
