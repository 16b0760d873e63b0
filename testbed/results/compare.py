"""Runs and sets of runs set beside each other: figures with intervals, and what is chance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from testbed.errors import NotFoundError, UnfaithfulError, UsageError
from testbed.results import comparable, layout
from testbed.results.comparable import Difference
from testbed.results.intervals import Interval
from testbed.results.sets import RunSet, load_set
from testbed.results.statistics import Change

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Side(NamedTuple):
    """One of the runs or sets that are compared.

    Args:
        tag: what it is called here: by what differs, else by a letter; one alone by its name.
        runs: its runs.
    """

    tag: str
    runs: RunSet


class Contestant(NamedTuple):
    """One policy of one side.

    Args:
        label: what tables and figures call it.
        side: whose it is.
        variant: the policy.
        against: the label of what it is compared with; None for the baseline itself.
    """

    label: str
    side: Side
    variant: str
    against: str | None


class Cell(msgspec.Struct, frozen=True):
    """A metric of a contestant.

    Args:
        interval: the median over its runs; None where it has no such figure.
        change: how it compares with what it is compared with.
    """

    interval: Interval | None
    change: Change | None


class Comparison(NamedTuple):
    """What `testbed compare` found.

    Args:
        sides: the runs and sets.
        contestants: the baseline first.
        varied: the scenario keys that differ, with a value for each side.
        remarks: what a reader should know before believing it.
        metrics: dotted name -> contestant's label -> figures.
    """

    sides: list[Side]
    contestants: list[Contestant]
    varied: list[Difference]
    remarks: list[str]
    metrics: dict[str, dict[str, Cell]]

    @property
    def unfaithful(self) -> dict[str, list[Path]]:
        """Side -> its runs whose verdict is FAIL; sides without are left out."""
        found = {side.tag: [run.path for run in side.runs.unfaithful] for side in self.sides}
        return {tag: paths for tag, paths in found.items() if paths}

    def as_json(self) -> dict[str, Any]:
        """The documented object of `testbed compare --json`."""
        return {
            "sides": {
                side.tag: {
                    "path": str(side.runs.path),
                    "runs": len(side.runs.runs),
                    "asked": side.runs.asked,
                    "seeds": side.runs.seeds,
                    "verdict": "FAIL" if side.runs.unfaithful else "PASS",
                }
                for side in self.sides
            },
            "varied": {
                each.key: {
                    side.tag: value for side, value in zip(self.sides, each.values, strict=True)
                }
                for each in self.varied
            },
            "remarks": self.remarks,
            "unfaithful": [str(path) for paths in self.unfaithful.values() for path in paths],
            "against": {each.label: each.against for each in self.contestants},
            "metrics": {
                name: {label: _cell(cell) for label, cell in cells.items()}
                for name, cells in self.metrics.items()
            },
        }


def compare(
    paths: Sequence[Path], *, varies: Sequence[str] = (), accept_unfaithful: bool = False
) -> Comparison:
    """Set runs beside each other; of a single set or run, its policies.

    Args:
        paths: directories of runs or sets, different ones; the first is the baseline.
        varies: scenario keys (or sections) whose difference is what is compared; one key that
            differs need not be named.
        accept_unfaithful: go on although a run has the verdict FAIL.

    Raises:
        NotFoundError: one of them holds no complete run.
        UsageError: they cannot be compared; says in what they differ.
        UnfaithfulError: a run has the verdict FAIL.
    """
    if len({path.resolve() for path in paths}) < len(paths):
        raise UsageError("a run is given twice", hint="compare different runs")
    sets = [_loaded(path) for path in paths]
    scenarios = [each.scenario for each in sets]
    found = comparable.differences(scenarios)
    varied = comparable.check(found, varies)
    sides = _sides(sets, varied)
    comparison = Comparison(
        sides,
        _contestants(sides),
        varied,
        comparable.remarks({side.tag: side.runs.runs for side in sides}, found) + _missing(sides),
        {},
    )
    if comparison.unfaithful and not accept_unfaithful:
        paths = [path for each in comparison.unfaithful.values() for path in each]
        raise UnfaithfulError(
            f"{len(paths)} of the runs {'has' if len(paths) == 1 else 'have'} the verdict FAIL, "
            f"the first: {paths[0]}",
            hint=f"why is in {paths[0] / layout.VERDICT}; run it again, or compare all the same "
            "with --accept-unfaithful",
        )
    return comparison._replace(metrics=_metrics(comparison.contestants))


def chosen(comparison: Comparison, wanted: Sequence[str]) -> list[str]:
    """The metrics to show: those asked for, else the plain ones and p50 and p99 of distributions.

    Args:
        wanted: dotted names, or beginnings of some: `ttft_s` is all of the distribution.

    Raises:
        NotFoundError: there is no such metric.
    """
    names = list(comparison.metrics)
    if not wanted:
        return [name for name in names if "." not in name or name.endswith((".p50", ".p99"))]
    found: dict[str, None] = {}
    for each in wanted:
        matching = [name for name in names if name == each or name.startswith(f"{each}.")]
        if not matching:
            raise NotFoundError(
                f"no run has a number called {each!r}",
                hint=f"metrics: {', '.join(dict.fromkeys(n.partition('.')[0] for n in names))}",
            )
        found |= dict.fromkeys(matching)
    return list(found)


def _loaded(path: Path) -> RunSet:
    if (path / layout.SWEEP).is_file():
        points = sorted(str(each.parent) for each in path.glob(f"*/{layout.SET}"))
        raise UsageError(
            f"{path} is a sweep, whose points have a table and a figure of their own",
            hint=f"compare some of them: {', '.join(points[:3])} …",
        )
    return load_set(path)


def _sides(sets: Sequence[RunSet], varied: Sequence[Difference]) -> list[Side]:
    if len(sets) == 1:
        return [Side(sets[0].path.name, sets[0])]
    tags = [
        ", ".join(
            f"{each.key.rpartition('.')[2]}={comparable.shown(each.values[number])}"
            for each in varied
        )
        for number in range(len(sets))
    ]
    if not all(tags) or len(set(tags)) < len(tags) or max(map(len, tags)) > 40:
        tags = [_letter(number) for number in range(len(sets))]
    return [Side(tag, each) for tag, each in zip(tags, sets, strict=True)]


def _letter(number: int) -> str:
    return _LETTERS[number] if number < len(_LETTERS) else f"#{number + 1}"


def _contestants(sides: Sequence[Side]) -> list[Contestant]:
    """Each policy of each side: against the same policy of the first side, if it has that."""
    one_policy = len({variant for side in sides for variant in side.runs.variants}) == 1
    first = sides[0]

    def label(side: Side, variant: str) -> str:
        if len(sides) == 1:
            return variant
        return side.tag if one_policy else f"{side.tag} {variant}"

    found = []
    for side in sides:
        for variant in side.runs.variants:
            inside = side is first or variant not in first.runs.variants
            against = label(first, first.runs.variants[0] if inside else variant)
            mine = label(side, variant)
            found.append(Contestant(mine, side, variant, None if mine == against else against))
    return found


def _metrics(contestants: Sequence[Contestant]) -> dict[str, dict[str, Cell]]:
    by_label = {each.label: each for each in contestants}
    names = dict.fromkeys(
        name for each in contestants for name in each.side.runs.metrics(each.variant)
    )
    return {
        name: {each.label: _compared(each, name, by_label) for each in contestants}
        for name in names
    }


def _compared(one: Contestant, metric: str, by_label: dict[str, Contestant]) -> Cell:
    change = None
    if one.against is not None:
        baseline = by_label[one.against]
        change = one.side.runs.change(one.variant, metric, baseline.variant, of=baseline.side.runs)
    return Cell(one.side.runs.median(one.variant, metric), change)


def _missing(sides: Sequence[Side]) -> list[str]:
    return [
        f"{side.tag}: {len(side.runs.runs)} of {side.runs.asked} runs are complete"
        for side in sides
        if len(side.runs.runs) < side.runs.asked
    ]


def _cell(cell: Cell) -> dict[str, Any]:
    interval: dict[str, Any] = {
        "value": None, "low": None, "high": None, "confidence": None, "count": 0,
    }  # fmt: skip
    if cell.interval is not None:
        interval = msgspec.structs.asdict(cell.interval)
    change = cell.change
    ratio = None if change is None or change.ratio is None else change.ratio
    return interval | {
        "ratio": None if ratio is None else msgspec.structs.asdict(ratio),
        "p_value": None if change is None else change.p_value,
        "least_p": None if change is None else change.least_p,
        "paired": None if change is None else change.paired,
        "significant": None if change is None else change.significant(),
    }
