"""What a run came to, on a terminal: the verdict first, then a table of policies and metrics.

It knows no metric by name: units follow from the ends of the names (`_bps`, `_s`, `_bytes`, …), and
`X_full_scale` is the same metric in the real cluster's units.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from testbed.units import show_duration, show_rate, show_size

_FULL_SCALE = "_full_scale"
_NOTHING = "–"
_PLAIN_WIDTH = 160
# Ends of names that a label leaves out, because the value says it by its unit.
_UNITS = ("_bps", "_per_s", "_s", "_bytes")
_HIDDEN = frozenset({"window_s"})


def lines(
    run: str,
    status: str,
    reasons: Sequence[str],
    comparison: Mapping[str, Any],
    summaries: Mapping[str, Mapping[str, Any]],
) -> list[str]:
    """A finished run for people.

    Args:
        run: where its files are.
        status: PASS or FAIL.
        reasons: for FAIL.
        comparison: figures over all variants; `speedup` and `predicted` are by variant.
        summaries: variant -> metrics.
    """
    parts: list[Any] = [_headline(status, run)]
    parts += [f"  • {escape(reason)}" for reason in reasons]
    parts.append("")
    about = [
        f"{label(name)} {escape(show(name, value))}"
        for name, value in comparison.items()
        if name not in ("speedup", "predicted")
    ]
    if about:
        parts += ["; ".join(about), ""]
    parts.append(_table(summaries, comparison))
    return _rendered(parts)


def predicted_lines(name: str, prediction: Mapping[str, Any]) -> list[str]:
    """A prediction for people: what holds for all policies, then each policy."""
    parts: list[Any] = [f"[bold]{escape(name)}[/bold], predicted:", ""]
    for key, value in prediction.items():
        if key != "policies":
            parts.append(f"  {label(key)}: {escape(show(key, value))}")
    policies = prediction.get("policies", {})
    if policies:
        parts += ["", _table(policies, {})]
    return _rendered(parts)


def _headline(status: str, run: str) -> str:
    colour = "green" if status == "PASS" else "red"
    meaning = "" if status == "PASS" else "  (its figures must not be believed)"
    return f"[bold {colour}]{status}[/bold {colour}]{meaning}  {escape(run)}"


def label(name: str) -> str:
    """A metric's name in words: kv_load_bps_full_scale -> "kv load, full scale"."""
    stem = name.removesuffix(_FULL_SCALE)
    for unit in _UNITS:
        if stem.endswith(unit):
            stem = stem.removesuffix(unit)
            break
    words = stem.replace("_", " ")
    return f"{words}, full scale" if name.endswith(_FULL_SCALE) else words


def show(name: str, value: Any) -> str:
    """A value for people, by the unit in its name."""
    if value is None:
        return _NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        if set(value) == {"p50", "p99", "mean"}:
            if value["p50"] is None:
                return _NOTHING
            return f"{show(name, value['p50'])} (p99 {show(name, value['p99'])})"
        return ", ".join(f"{label(key)} {show(_inner(name, key), v)}" for key, v in value.items())
    if not isinstance(value, int | float):
        return str(value)
    stem = name.removesuffix(_FULL_SCALE)
    if stem.endswith("_bps"):
        return f"{show_rate(value)}/s"
    if stem.endswith("_per_s"):
        return f"{value:.4g}/s"
    if stem.endswith("_s"):
        return show_duration(value)
    if stem.endswith("_bytes") or stem.startswith("bytes_"):
        return show_size(value)
    if stem.endswith(("_share", "_rate")):
        return f"{value:.1%}"
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def _inner(outer: str, key: str) -> str:
    """The name that says the unit of a value in a mapping: its own, else the mapping's."""
    return key if key.endswith(_UNITS) else outer


def _table(summaries: Mapping[str, Mapping[str, Any]], comparison: Mapping[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for variant in summaries:
        table.add_column(variant, justify="right")
    predicted = comparison.get("predicted", {})
    for name in _metrics(summaries):
        table.add_row(label(name), *(show(name, s.get(name)) for s in summaries.values()))
        if any(name in each for each in predicted.values()):
            table.add_row(
                f"{label(name)}, predicted",
                *(show(name, predicted.get(variant, {}).get(name)) for variant in summaries),
                style="dim",
            )
    _speedups(table, summaries, comparison)
    return table


def _metrics(summaries: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Names in the order that they come in; lists are for programs, not for people."""
    names = dict.fromkeys(name for summary in summaries.values() for name in summary)
    return [
        name
        for name in names
        if name not in _HIDDEN
        and not any(isinstance(summary.get(name), list) for summary in summaries.values())
    ]


def _speedups(table: Table, summaries: Mapping[str, Any], comparison: Mapping[str, Any]) -> None:
    speedups = comparison.get("speedup", {})
    metrics = dict.fromkeys(metric for each in speedups.values() for metric in each)
    for metric in metrics:
        factors = [speedups.get(variant, {}).get(metric) for variant in summaries]
        table.add_row(f"speed-up in {label(metric)}", *map(_factor, factors), style="bold")
    predicted = comparison.get("predicted", {})
    if any("speedup" in each for each in predicted.values()):
        factors = [predicted.get(variant, {}).get("speedup") for variant in summaries]
        table.add_row("speed-up, predicted", *map(_factor, factors), style="dim")


def _factor(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.2f}×"


def _rendered(parts: Sequence[Any]) -> list[str]:
    """Lines, with colours only for a terminal whose user wants any (no-color.org)."""
    terminal = sys.stdout.isatty()
    console = Console(
        file=io.StringIO(),
        force_terminal=terminal and "NO_COLOR" not in os.environ,
        width=None if terminal else _PLAIN_WIDTH,
        highlight=False,
    )
    with console.capture() as captured:
        for part in parts:
            console.print(part, soft_wrap=isinstance(part, str) and not terminal)
    return [line.rstrip() for line in captured.get().rstrip("\n").splitlines()]
