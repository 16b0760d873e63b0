"""report.html: the verdict, what was asked, predicted and measured, how the NICs were used."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from testbed.errors import UsageError
from testbed.metrics import label, names, show
from testbed.report.figures import all_figures
from testbed.results import layout
from testbed.results.load import load

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
    environment.filters["shown"] = lambda value, name: show(name, value)
    environment.filters["label"] = label
    return environment.from_string(source)


def _content(run: dict[str, Any], verdict: Any, figures: dict[str, str]) -> dict[str, Any]:
    summaries = {name: said.get("summary", {}) for name, said in run["policies"].items()}
    comparison = run.get("comparison", {})
    loads = {name: summary.get("nic_loads") or [] for name, summary in summaries.items()}
    return {
        "run": run,
        "verdict": verdict,
        "summaries": summaries,
        "metrics": names(summaries),
        "loads": loads,
        "comparison": comparison,
        "predicted": run.get("predicted", {}).get("policies", {}),
        "caps": comparison.get("caps_turns_per_s", {}),
        # What the same cluster would do if its engines computed; nothing if they do.
        "modelled_caps": comparison.get("modelled_caps_turns_per_s", {}),
        "modelled_speedup": comparison.get("modelled_speedup", {}),
        # Made by matplotlib from numbers and from names that its SVG writer escapes.
        "figures": {_FIGURE_TITLES[name]: Markup(svg) for name, svg in figures.items()},
        "limits": _LIMITS,
        "scenario": json.dumps(run["scenario"], indent=2),
        "verified": show("bytes_verified", comparison.get("bytes_verified", 0)),
    }
