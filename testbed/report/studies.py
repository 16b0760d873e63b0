"""The page of a set of studies: each figure beside the paper's values, and how far off it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from testbed.report.svg import COLOURS, themed
from testbed.results import layout
from testbed.results.writer import write_whole

PAGE = "index.html"


def write_page(
    directory: Path,
    findings: Sequence[Any],
    *,
    headings: Sequence[str],
    shown: Callable[[Any], Any],
    summary: Callable[[Any], str],
    command: str,
) -> Path:
    """Write the page of a set.

    Args:
        directory: of the set: figures lie in NAME/, runs in runs/.
        findings: `testbed.experiment.study.Finding` of each study.
        headings: of the table.
        shown: a row in words.
        summary: of a finding, in a few words.
        command: that gives all of it again.

    Returns:
        The page; one file that needs no other.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["shown"] = shown
    environment.filters["summary"] = summary
    source = files("testbed.report").joinpath("templates/studies.html.j2").read_text()
    text = environment.from_string(source).render(
        findings=findings,
        passed=sum(each.status == "PASS" for each in findings),
        headings=headings,
        figures={each.name: _figures(directory / each.name, each.figures) for each in findings},
        reports=_reports(directory),
        palette=COLOURS,
        command=command,
    )
    page = directory / PAGE
    write_whole(page, text.encode())
    return page


def _figures(place: Path, names: Sequence[str]) -> list[Markup]:
    """Figures as elements: made by matplotlib, whose SVG writer escapes names."""
    found = []
    for name in names:
        text = (place / f"{name}.svg").read_text()
        found.append(Markup(themed(text[text.index("<svg") :])))
    return found


def _reports(directory: Path) -> dict[str, str]:
    """Run -> the place of its report, seen from the page."""
    return {
        path.name: f"runs/{path.name}/{layout.REPORT}"
        for path in layout.all_runs(directory / "runs")
        if (path / layout.REPORT).is_file()
    }
