"""What the page's script needs to draw timelines that can be zoomed: the library, and the data.

The library is BokehJS as the installed package `bokeh` ships it; nothing of it is imported here,
and the page fetches nothing.  Both are compressed into the page and unpacked by the browser, which
makes it a third as large.
"""

from __future__ import annotations

import base64
import functools
import gzip
import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from testbed.errors import UnsupportedError
from testbed.report.bounds import Bound
from testbed.report.machine import Latest, Load
from testbed.report.marks import labels
from testbed.report.series import Floats
from testbed.report.style import line_styles
from testbed.report.variants import Variant
from testbed.report.words import Words

_SCRIPTS = ("bokeh.min.js", "bokeh-api.min.js")
_KIB = 1024.0
_LABEL_SHARE = 0.02  # of the width: numbers of marks that are closer would overlap


def library() -> str:
    """BokehJS, compressed, for the page.

    Raises:
        UnsupportedError: the package is not installed, or lacks the scripts.
    """
    spec = find_spec("bokeh")
    if spec is None or spec.origin is None:
        raise UnsupportedError(
            "reports embed BokehJS, and the package bokeh is not installed",
            hint="pip install bokeh, or install dualpath-testbed again",
        )
    try:
        return _compressed(Path(spec.origin).parent / "server" / "static" / "js")
    except OSError as error:
        raise UnsupportedError(
            f"reports embed BokehJS, and {error.filename} cannot be read: {error.strerror}",
            hint="install the package bokeh again: pip install --force-reinstall bokeh",
        ) from None


@functools.cache
def _compressed(directory: Path) -> str:
    return packed(b";\n".join((directory / name).read_bytes() for name in _SCRIPTS))


def packed(content: bytes) -> str:
    """Compressed text for the page's script; the same for the same content."""
    return base64.b64encode(gzip.compress(content, 6, mtime=0)).decode()


def payload(panels: Sequence[Mapping[str, Any]], kinds: Sequence[str], title: str) -> str:
    """All data of the timelines, compressed.

    Args:
        panels: from `panel`.
        kinds: of requests in any of them: they have the same colours in all.
        title: of the requests' waits.
    """
    return packed(
        json.dumps({"title": title, "kinds": kinds, "variants": panels}, allow_nan=False).encode()
    )


def panel(
    variant: Variant, points: pl.DataFrame | None, lateness: str, words: Words
) -> dict[str, Any]:
    """The data of one variant; times are seconds since its start.

    Args:
        points: requests, from `requests.over_time`.
        lateness: what is said above the lateness of its programs' timers.
        words: for kinds of requests.
    """
    window, classes = variant.window, variant.classes
    length_s = max((float(one.times_s[-1]) for one in classes if len(one.times_s)), default=0.0)
    return {
        "name": variant.name,
        "window": None if window is None else [round(edge, 3) for edge in window],
        "marks": [round(mark.at_s, 3) for mark in variant.marks],
        "labels": labels(variant.marks, _LABEL_SHARE * length_s),
        "series": [
            {
                "name": one.name,
                "colour": style.colour,
                "dashed": style.dashed,
                "nics": one.nics,
                "mbit": one.rate_bps / 1e6,
                "t": _rounded(one.times_s, 3),
                "mean": _rounded(100 * one.mean, 1),
                "least": _rounded(100 * one.least, 1),
                "most": _rounded(100 * one.most, 1),
                "queue": _rounded(one.backlog_bytes / _KIB, 1),
            }
            for one, style in zip(classes, line_styles(classes), strict=True)
        ],
        "points": [] if points is None else _points(points, variant.started_s, words),
        "machine": None if variant.load is None else _machine(variant.load),
        "asked_cpu": _bounds(variant.asked_cpu),
        "asked_lag": _bounds(variant.asked_lag),
        "late": None if variant.late is None else {"said": lateness, **_late(variant.late)},
    }


def _rounded(values: Floats, digits: int) -> list[float]:
    found: list[float] = np.round(values, digits).tolist()
    return found


def _points(points: pl.DataFrame, started_s: float, words: Words) -> list[dict[str, Any]]:
    """Requests by kind; those that failed are a kind of their own."""
    kinds = points.with_columns(
        kind=pl.when("failed").then(pl.lit("failed")).otherwise(pl.col("kind"))
    )
    return [
        {
            "kind": kind,
            "said": words.value("kind", kind),
            "t": _rounded(part["began_s"].to_numpy() - started_s, 3),
            "wait": _rounded(part["wait_s"].to_numpy(), 4),
        }
        for (kind,), part in sorted(kinds.group_by(["kind"]), key=lambda each: str(each[0][0]))
    ]


def _machine(load: Load) -> dict[str, Any]:
    return {
        "t": _rounded(load.times_s, 3),
        "cpu": _rounded(100 * load.cpu_share, 1),
        "softirq": _rounded(100 * load.softirq_share, 1),
        "lag": _rounded(1000 * load.lag_s, 2),
    }


def _bounds(bounds: Sequence[Bound]) -> list[dict[str, Any]]:
    return [
        {"at": round(each.at, 3), "said": each.label, "own": each.own, "beyond": each.beyond}
        for each in bounds
    ]


def _late(late: Latest) -> dict[str, Any]:
    return {
        "t": _rounded(late.times_s, 2),
        "late": _rounded(1000 * late.late_s, 2),
        "who": late.who,
    }
