"""The kernel's counters as what figures show: each class of NIC over time, each NIC in the window.

A *class* is all NICs of one role, kind and direction.  Where a run has plain links only, and few of
them, each is a class of its own.

Counters are read every 100 ms.  Where a reading came late, a NIC seems to have carried more than
its line, and less just before or after: that reading is passed over, so that both intervals are
one.  Of a variant with more than `MOST_SAMPLES` readings k are taken together.  Either way a rate
is the mean over a longer interval, no byte is lost, and a backlog is the largest in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from testbed.results.writer import VARIANT_COLUMN

Floats = NDArray[np.float64]
Span = tuple[float, float]

MOST_SAMPLES = 1200
MOST_PRINTED = 300  # in the figure for paper
IDLE_SHARE = 0.005  # a class that never exceeds this is not drawn, and is named instead
# Of its line: between two readings no NIC carries that much, a burst and an aggregate included.
LATE_SHARE = 1.25
KINDS = {"snic": "SNIC", "cnic": "CNIC", "link": "link", "nvlink": "NVLink", "pcie": "PCIe"}
_FEW_LINKS = 8


class Use(NamedTuple):
    """One direction of one NIC in a span of time.

    Args:
        share: of the line rate, headers included.
    """

    nic: str
    kind: str
    node: str
    role: str
    direction: str
    rate_bps: int
    share: float


@dataclass(frozen=True)
class Series:
    """One class of NIC over time.

    Args:
        name: e.g. "prefill SNIC in".
        role, kind, direction: of all its NICs.
        nics: how many.
        rate_bps: line rate of all of them together.
        times_s: ends of the intervals, since the variant's programs were started.
        mean, least, most: share of the line rate over its NICs, in each interval.
        backlog_bytes: queued in front of all of them.
    """

    name: str
    role: str
    kind: str
    direction: str
    nics: int
    rate_bps: float
    times_s: Floats
    mean: Floats
    least: Floats
    most: Floats
    backlog_bytes: Floats

    @property
    def idle(self) -> bool:
        """Never used to speak of."""
        return not len(self.most) or float(self.most.max()) < IDLE_SHARE


def together(readings: int, most: int = MOST_SAMPLES) -> int:
    """k, see above."""
    return max(1, math.ceil((readings - 1) / most))


def of_variant(nics: pl.DataFrame, variant: str) -> pl.DataFrame:
    """The rows that figures are of: one variant, all lanes together, no management."""
    if "lane" not in nics.columns:
        return nics.clear()
    return nics.filter(
        (pl.col(VARIANT_COLUMN) == variant)
        & (pl.col("lane") == "all")
        & pl.col("kind").is_in(list(KINDS))
    )


def uses(nics: pl.DataFrame, variant: str, span: Span | None) -> list[Use]:
    """How much of its line each NIC used, in the order of the plan.

    Args:
        nics: the table.
        span: time.monotonic() seconds; None for all that was sampled.
    """
    found = []
    for one in _each(of_variant(nics, variant)):
        times, counts = one["t_s"].to_numpy(), one["bytes"].to_numpy()
        opened, closed = span or (float(times[0]), float(times[-1]))
        if closed <= opened:
            continue
        first, last = np.interp([opened, closed], times, counts)
        row: dict[str, Any] = one.row(0, named=True)
        share = 8 * float(last - first) / (closed - opened) / row["rate_bps"]
        named = {name: row[name] for name in Use._fields if name != "share"}
        found.append(Use(**named, share=share))
    return found


class Timeline(NamedTuple):
    """One variant's NICs over time.

    Args:
        classes: of NICs.
        readings: of the counters.
        late: of them, passed over because they came late.
        together: k, see above.
    """

    classes: list[Series]
    readings: int
    late: int
    together: int


def timeline(
    nics: pl.DataFrame, variant: str, started_s: float | None, most: int = MOST_SAMPLES
) -> Timeline:
    """Each class of NIC over time.

    Args:
        nics: the table.
        started_s: of time.monotonic(); None for the first sample.
        most: intervals that the timeline may have.
    """
    members = _each(of_variant(nics, variant))
    if not members:
        return Timeline([], 0, 0, 1)
    named = [one.row(0, named=True) for one in members]
    length = min(map(len, members))
    times = np.stack([one["t_s"].to_numpy()[:length] for one in members])
    counts = np.stack([one["bytes"].to_numpy()[:length] for one in members]).astype(float)
    queued = np.stack(
        [one["backlog_bytes"].fill_null(0).to_numpy()[:length] for one in members]
    ).astype(float)
    rates = np.array([float(row["rate_bps"]) for row in named])
    kept = in_time(times, counts, rates)
    step = together(len(kept), most)
    at = kept[::step]
    spent = np.maximum(np.diff(times[:, at], axis=1), 1e-6)
    shares = 8 * np.diff(counts[:, at], axis=1) / spent / rates[:, None]
    queues = np.maximum.reduceat(queued[:, 1 : at[-1] + 1], at[:-1], axis=1)
    began = float(times[:, 0].min()) if started_s is None else started_s
    classes = [
        Series(
            *name,
            len(rows),
            float(rates[rows].sum()),
            times[rows[0], at][1:] - began,
            (shares[rows] * rates[rows, None]).sum(axis=0) / rates[rows].sum(),
            shares[rows].min(axis=0),
            shares[rows].max(axis=0),
            queues[rows].sum(axis=0),
        )
        for name, rows in _classes(named).items()
    ]
    return Timeline(classes, length, length - len(kept), step)


def _classes(named: Sequence[dict[str, Any]]) -> dict[tuple[str, str, str, str], list[int]]:
    """(name, role, kind, direction) -> the rows of its NICs."""
    links = {row["nic"] for row in named}
    by_name = {row["kind"] for row in named} == {"link"} and len(links) <= _FEW_LINKS
    found: dict[tuple[str, str, str, str], list[int]] = {}
    for number, row in enumerate(named):
        role, kind, direction = row["role"], row["kind"], row["direction"]
        whose = row["nic"].rpartition("/")[2] if by_name else f"{role} {KINDS[kind]}"
        found.setdefault((f"{whose} {direction}", role, kind, direction), []).append(number)
    return found


def in_time(times: Floats, counts: Floats, rates: Floats) -> NDArray[np.int64]:
    """The readings that are not passed over, first and last among them.

    Args:
        times, counts: seconds and bytes of each reading, shape (NICs, readings).
        rates: of the lines, bit/s, shape (NICs,).
    """
    kept = np.arange(times.shape[1])
    while len(kept) > 2:
        spent = np.maximum(np.diff(times[:, kept], axis=1), 1e-6)
        shares = 8 * np.diff(counts[:, kept], axis=1) / spent / rates[:, None]
        fullest = shares.max(axis=0)
        worst = int(fullest.argmax())
        if fullest[worst] <= LATE_SHARE:
            break
        # The late one is where, beside too much, there is too little.
        sides = [side for side in (worst, worst + 1) if 0 < side < len(kept) - 1]
        beside = {side: fullest[side - 1 if side == worst else side] for side in sides}
        kept = np.delete(kept, min(sides, key=beside.__getitem__))
    return kept


def _each(rows: pl.DataFrame) -> list[pl.DataFrame]:
    """The samples of each direction of each NIC."""
    parts = rows.partition_by(["nic", "direction"], maintain_order=True)
    return [part for part in parts if len(part) > 1]
