"""The figures of a page: drawn from a run's tables, each once."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import polars as pl

from testbed.metrics import label
from testbed.report import bars, cluster, figures, requests, tables, zoomable
from testbed.report.presentation import Presentation
from testbed.report.series import IDLE_SHARE, MOST_PRINTED, Series, timeline, uses
from testbed.report.variants import Variant, table_of, variants_of
from testbed.report.words import Words, bound_by, shown, spaced
from testbed.results.load import RunData


class Drawn:
    """What is drawn of a run; empty where the run has nothing of it.

    Args:
        data: the run.
        presentation: of its workload.
        words: for names.
    """

    def __init__(self, data: RunData, presentation: Presentation, words: Words) -> None:
        self._data = data
        self._late = presentation.lateness
        self._how = presentation.requests
        self._words = words
        self._nics = table_of(data, "nics")
        self.comparison: dict[str, Any] = data.run.get("comparison") or {}
        self.summaries: dict[str, dict[str, Any]] = {
            name: said.get("summary", {}) for name, said in data.policies.items()
        }
        self.variants = variants_of(data, presentation)

    @cached_property
    def clusters(self) -> dict[str, str]:
        """Variant -> the cluster under it."""
        nics = self._nics
        if nics is None:
            return {}
        found = {v.name: uses(nics, v.name, v.span) for v in self.variants}
        links = [(a, b) for a, b in (self._data.run.get("topology") or {}).get("links", [])]
        return {name: cluster.draw(each, name, links) for name, each in found.items() if each}

    @cached_property
    def caps(self) -> str:
        """The caps, and what was reached."""
        limits = self.comparison.get("caps_turns_per_s") or {}
        if not limits:
            return ""
        predicted = self._data.run.get("predicted", {}).get("policies", {})
        say = self._words.value
        return bars.caps(
            {say("", name): cap for name, cap in limits.items()},
            {name: each.get("turns_per_s") for name, each in predicted.items()},
            {name: each.get("turns_per_s") for name, each in self.summaries.items()},
            {name: bound_by(each, self._words) for name, each in self.summaries.items()},
        )

    @cached_property
    def modelled_caps(self) -> str:
        """What the caps would be if engines computed."""
        caps = self.comparison.get("modelled_caps_turns_per_s") or {}
        return ", ".join(
            f"{self._words.value('', name)} {shown('_per_s', cap)}" for name, cap in caps.items()
        )

    @cached_property
    def splits(self) -> dict[str, list[requests.Split]]:
        """Variant -> where the time to the answer went."""
        how = self._how
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
        how = self._how
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
        how = self._how
        if how is None:
            return {}
        of_variant = {
            v.name: requests.choose(v.rows, v.waits, how)
            for v in self.variants
            if v.rows is not None and v.waits is not None
        }
        lengths = [sum(p.seconds for p in c.parts) for each in of_variant.values() for c in each]
        answer = len(requests.parts({how.began: 0.0}, how, until_answer=True))
        found = {}
        for variant, chosen in of_variant.items():
            labels = {number: (one.why, self._told(one)) for number, one in enumerate(chosen)}
            drawn = bars.waterfall(chosen, labels, answer, max(lengths, default=0.0))
            if drawn:
                found[variant] = drawn
        return found

    def _told(self, one: requests.Chosen) -> str:
        how = self._how
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
        nics, how = self._nics, self._how
        if nics is not None:
            found["nic_timelines"] = figures.timelines(
                {v.name: self._printed(v, nics) for v in self.variants},
                {v.name: v.window for v in self.variants},
                {v.name: v.marks for v in self.variants},
            )
            found["nic_utilisation"] = figures.utilisation(
                {v.name: uses(nics, v.name, v.span) for v in self.variants}
            )
        if any(v.load is not None or v.late is not None for v in self.variants):
            found["machine"] = figures.machine(self.variants)
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
        how = self._how
        panels, kinds = [], dict[str, None]()
        for v in self.variants:
            points = None
            if how is not None and v.rows is not None and v.waits is not None:
                points, _ = requests.over_time(v.rows, how)
                kinds |= dict.fromkeys(points["kind"].unique().sort())
            panels.append(zoomable.panel(v, points, self.lateness(v.name), self._words))
        if not any(panel["series"] for panel in panels):
            return ""
        return zoomable.payload(panels, sorted(kinds), "" if how is None else how.title)

    def lateness(self, variant: str) -> str:
        """What is said of the lateness of a variant's timers: its name, and how it was judged."""
        if self._late is None:
            return ""
        said = f"{self._late.title}, the latest at each moment"
        for check in self._data.verdict.checks:
            if check.name == self._late.check and check.variant == variant:
                asked = f"asked in the window: {check.bound}; " if check.bound else ""
                said += f" ({asked}found: {check.measured})"
        return spaced(said)

    @property
    def thinning(self) -> list[str]:
        """What the timelines leave out, in sentences."""
        said = []
        how = self._how
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
        return [spaced(each) for each in said]

    @property
    def waiting(self) -> str:
        """The parts of a request's time in which nothing is done for it."""
        return ", ".join(name for name, _, _, waiting in self.parts if waiting)
