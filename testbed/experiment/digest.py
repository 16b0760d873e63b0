"""What a run came to, on a terminal: the verdict, the answer in a sentence, tables of all figures.

It knows no metric by name (`testbed.metrics` shows them), but the shape of a comparison: `speedup`
is variant -> metric -> factor, `predicted` variant -> metrics, and `predicted_measured`, a table of
its own, variant -> figure -> both (`testbed.experiment.measured`).  Of the rest, a mapping of
variants is a row of the table, and `caps_X` and `modelled_caps_X` share a table of caps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from testbed.metrics import NOTHING, label, names, show
from testbed.results.foreseen import Pair, apart, told
from testbed.terminal import rendered

_CAPS, _MODELLED = "caps_", "modelled_"
_BESIDE = "predicted_measured"
_FEW = 4


def lines(
    run: str,
    status: str,
    reasons: Sequence[str],
    comparison: Mapping[str, Any],
    summaries: Mapping[str, Mapping[str, Any]],
    remarks: Sequence[str] = (),
) -> list[str]:
    """A finished run for people.

    Args:
        run: where its files are.
        status: PASS or FAIL.
        reasons: for FAIL.
        comparison: figures over all variants.
        summaries: variant -> metrics.
        remarks: what should be known of the figures, whatever the verdict.
    """
    parts: list[Any] = [_headline(status, run)]
    parts += [f"  • {escape(reason)}" for reason in reasons]
    parts += [f"  note: {escape(remark)}" for remark in remarks]
    if answer := _answer(comparison):
        parts.append(answer)
    parts.append("")
    tabled = {"speedup", "predicted", _BESIDE, *_caps(comparison)}
    tabled |= set(_by_variant(comparison, summaries))
    about = [
        f"{label(name)} {escape(show(name, value))}"
        for name, value in comparison.items()
        if name not in tabled
    ]
    if about:
        parts += ["; ".join(about), ""]
    parts.append(_table(summaries, comparison))
    return rendered([*parts, *_beside(comparison), *_caps_table(comparison)])


def predicted_lines(name: str, prediction: Mapping[str, Any]) -> list[str]:
    """A prediction for people: each policy, what bounds all of them, what it would take."""
    policies = prediction.get("policies", {})
    parts: list[Any] = [f"[bold]{escape(name)}[/bold], predicted:", ""]
    if policies:
        parts.append(_table(policies, prediction))
    parts += _caps_table(prediction)
    tabled = {"policies", *_caps(prediction), *_by_variant(prediction, policies)}
    for key, value in prediction.items():
        if key not in tabled:
            parts.append(f"  {label(key)}: {escape(show(key, value))}")
    return rendered(parts)


def _headline(status: str, run: str) -> str:
    colour = "green" if status == "PASS" else "red"
    meaning = "" if status == "PASS" else "  (its figures must not be believed)"
    return f"[bold {colour}]{status}[/bold {colour}]{meaning}  {escape(run)}"


def _answer(comparison: Mapping[str, Any]) -> str:
    """The best variant over the first, in the first metric, and what was predicted; or nothing."""
    speedups = comparison.get("speedup", {})
    if not speedups:
        return ""
    first, *others = speedups
    metric = next(iter(speedups[first]), "")
    measured = {name: each[metric] for name, each in speedups.items() if each.get(metric)}
    others = [name for name in others if name in measured]
    if first not in measured or not others:
        return ""
    best = max(others, key=lambda name: measured[name])
    foreseen = {
        "predicted": comparison.get("predicted", {}).get(best, {}).get("speedup"),
        "with modelled engines": comparison.get("modelled_speedup", {}).get(best),
    }
    beside = [f"{how} {show('speedup', x)}" for how, x in foreseen.items() if x is not None]
    return (
        f"[bold]{escape(best)}: {show('speedup', measured[best])}[/bold] the {label(metric)} "
        f"of {escape(first)}" + (f" ({'; '.join(beside)})" if beside else "")
    )


def _caps(figures: Mapping[str, Any]) -> list[str]:
    """The names of caps: what may not be exceeded, by what it is a cap of."""
    return [
        name
        for name, value in figures.items()
        if isinstance(value, Mapping) and name.removeprefix(_MODELLED).startswith(_CAPS)
    ]


def _by_variant(figures: Mapping[str, Any], variants: Iterable[str]) -> list[str]:
    """The names of figures that have one value for each variant."""
    known = set(variants)
    return [
        name
        for name, value in figures.items()
        if isinstance(value, Mapping)
        and set(value) == known
        and not any(isinstance(each, Mapping) for each in value.values())
    ]


def _table(summaries: Mapping[str, Mapping[str, Any]], comparison: Mapping[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for variant in summaries:
        table.add_column(variant, justify="right")
    for name in names(summaries):
        if any(_is_wide(summary.get(name)) for summary in summaries.values()):
            continue
        shown = [show(name, summary.get(name)) for summary in summaries.values()]
        if set(shown) == {NOTHING}:
            continue  # no variant says
        table.add_row(label(name), *shown)
    _speedups(table, summaries, comparison)
    return table


def _is_wide(value: Any) -> bool:
    """Whether a figure is many: the report and the JSON have room for it."""
    if isinstance(value, Mapping):
        return len(value) > _FEW or any(isinstance(each, Mapping) for each in value.values())
    return isinstance(value, list)


def _speedups(table: Table, summaries: Mapping[str, Any], comparison: Mapping[str, Any]) -> None:
    speedups = comparison.get("speedup", {})
    metrics = dict.fromkeys(metric for each in speedups.values() for metric in each)
    for metric in metrics:
        factors = [speedups.get(variant, {}).get(metric) for variant in summaries]
        table.add_row(
            f"speed-up in {label(metric)}", *(show("speedup", x) for x in factors), style="bold"
        )
    for name in _by_variant(comparison, summaries):
        values = [show(name, comparison[name][variant]) for variant in summaries]
        table.add_row(label(name), *values, style="dim")


def _beside(comparison: Mapping[str, Any]) -> list[Any]:
    """A table of what was predicted and what was measured; nothing where there is neither."""
    variants = comparison.get(_BESIDE, {})
    figures = told(variants)
    if not figures:
        return []
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("predicted | measured")
    for variant in variants:
        table.add_column(variant, justify="right")
    for name in figures:
        pairs = (each.get(name, {}) for each in variants.values())
        table.add_row(label(name), *(_pair(name, pair) for pair in pairs))
    return [table]


def _pair(name: str, pair: Pair) -> str:
    """Both, and of words whether they are the same."""
    found = apart(pair)
    sign = (" ✓" if found else " ✗") if isinstance(found, bool) else ""
    return f"{show(name, pair.get('predicted'))} | {show(name, pair.get('measured'))}{sign}"


def _caps_table(figures: Mapping[str, Any]) -> list[Any]:
    """A row for each cap, a column for each set of them; nothing where there are none."""
    sets = _caps(figures)
    if not sets:
        return []
    sets.sort(key=lambda name: name.startswith(_MODELLED))  # this run's own first
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for name in sets:
        table.add_column(label(name).replace(", ", ",\n"), justify="right")
    for cap in dict.fromkeys(cap for name in sets for cap in figures[name]):
        table.add_row(cap, *(show(name, figures[name].get(cap)) for name in sets))
    return [table]
