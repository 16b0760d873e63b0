"""report.html: the verdict, what was asked, predicted and measured, how the NICs were used."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from testbed.errors import UsageError
from testbed.report.figures import all_figures
from testbed.results import layout
from testbed.results.load import load
from testbed.units import show_rate, show_size

_FIGURE_TITLES = {
    "nic_timelines": "NIC timelines",
    "nic_utilisation": "Use of the NICs",
    "first_token": "Time to first token",
}
_LIMITS = (
    ("Pauses of a lossless fabric (PFC) and their spreading", "congestion looks milder"),
    ("DCQCN and other rate control of RDMA NICs", "rates settle faster"),
    ("Tails of microseconds", "not seen at all below about a millisecond"),
    ("The cost of RDMA verbs and of copy engines", "small transfers look cheaper, relatively"),
    ("PCIe ordering and its congestion", "loopbacks look smoother"),
    ("Exact switch arbitration", "fair leaves are an ideal: see `arbitration`"),
    (
        "A lossless fabric: TCP without loss stands in for it",
        "ACKs take about 0.4 % of the way back",
    ),
)


def write_report(path: Path) -> Path:
    """Write the report of a run, and its figures as files.

    Args:
        path: the run directory.

    Returns:
        The page.

    Raises:
        NotFoundError: it is no run directory.
        UsageError: it may not be written to.
    """
    data = load(path)
    windows = {
        name: _window(said.get("summary", {}).get("window_s"))
        for name, said in data.policies.items()
    }
    wanted = ("nics", "requests")
    figures = all_figures({t: data.table(t) for t in wanted if t in data.tables}, windows)
    text = _template().render(**_content(data.run, data.verdict, figures))
    try:
        directory = path / layout.FIGURES
        directory.mkdir(exist_ok=True)
        for name, svg in figures.items():
            (directory / f"{name}.svg").write_text(svg)
        page = path / layout.REPORT
        page.write_text(text)
    except OSError as error:
        raise UsageError(
            f"the report of {path} cannot be written: {error.strerror} ({error.filename})",
            hint="it is written into the run's own directory: copy that to a place of yours",
        ) from None
    return page


def _window(said: Any) -> tuple[float, float] | None:
    return (float(said[0]), float(said[1])) if said else None


def _template() -> jinja2.Template:
    source = files("testbed.report").joinpath("templates/report.html.j2").read_text()
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["rate"] = lambda value: "–" if value is None else show_rate(value) + "/s"
    environment.filters["number"] = _number
    return environment.from_string(source)


def _number(value: Any) -> str:
    """A figure for people."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_number(part)}" for key, part in value.items())
    if isinstance(value, list):
        return ", ".join(map(_number, value))
    return str(value)


def _content(run: dict[str, Any], verdict: Any, figures: dict[str, str]) -> dict[str, Any]:
    summaries = {name: said.get("summary", {}) for name, said in run["policies"].items()}
    comparison = run.get("comparison", {})
    metrics = list(dict.fromkeys(m for s in summaries.values() for m in s if m != "nic_loads"))
    loads = {name: summary.get("nic_loads") or [] for name, summary in summaries.items()}
    return {
        "run": run,
        "verdict": verdict,
        "summaries": summaries,
        "metrics": metrics,
        "loads": loads,
        "comparison": comparison,
        "predicted": run.get("predicted", {}).get("policies", {}),
        "caps": run.get("predicted", {}).get("caps_turns_per_s", {}),
        # Made by matplotlib from numbers and from names that its SVG writer escapes.
        "figures": {_FIGURE_TITLES[name]: Markup(svg) for name, svg in figures.items()},
        "limits": _LIMITS,
        "scenario": json.dumps(run["scenario"], indent=2),
        "verified": show_size(comparison.get("bytes_verified", 0)),
    }
