"""The machine over time: how busy it was, and how late the timers of programs on it came."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from testbed.report.presentation import Lateness
from testbed.report.series import MOST_SAMPLES, Floats, together
from testbed.results.writer import VARIANT_COLUMN

_STEP_S = 0.1  # at least: as often as counters are read


@dataclass(frozen=True)
class Load:
    """How busy the machine was; of several samples taken together, the largest values.

    Args:
        times_s: since the start of the variant.
        cpu_share, softirq_share: of all its processors.
        lag_s: how late the monitor's own timer was.
    """

    times_s: Floats
    cpu_share: Floats
    softirq_share: Floats
    lag_s: Floats


@dataclass(frozen=True)
class Latest:
    """The latest timer of all programs in each interval.

    Args:
        times_s: ends of the intervals, since the start of the variant.
        late_s: by how much.
        who: whose timer it was.
    """

    times_s: Floats
    late_s: Floats
    who: list[str]


def load_of(machine: pl.DataFrame | None, variant: str, started_s: float) -> Load | None:
    """The machine's load under a variant; None if nothing was recorded.

    Args:
        machine: the table, if there is one.
        started_s: of time.monotonic().
    """
    wanted = ("cpu_share", "softirq_share", "lag_s")
    if machine is None or not {"t_s", VARIANT_COLUMN, *wanted} <= set(machine.columns):
        return None
    rows = machine.filter(pl.col(VARIANT_COLUMN) == variant)
    if rows.is_empty():
        return None
    groups = np.arange(0, len(rows), together(len(rows)))
    cpu, softirq, lag = (
        np.maximum.reduceat(rows[name].fill_null(0.0).to_numpy().astype(float), groups)
        for name in wanted
    )
    return Load(rows["t_s"].to_numpy()[groups] - started_s, cpu, softirq, lag)


def latest(
    rows: pl.DataFrame | None,
    variant: str,
    how: Lateness,
    started_s: float,
    most: int = MOST_SAMPLES,
) -> Latest | None:
    """The latest timers of a variant; None if nothing was recorded.

    Args:
        rows: the table, if there is one.
        started_s: of time.monotonic().
        most: intervals.
    """
    needed = {VARIANT_COLUMN, how.who, how.due, how.late}
    if rows is None or not needed <= set(rows.columns):
        return None
    mine = rows.filter(pl.col(VARIANT_COLUMN) == variant)
    since = mine[how.due].to_numpy().astype(float) - started_s
    if not len(since):
        return None
    step_s = max(_STEP_S, float(since.max() - since.min()) / most)
    chosen = (
        mine.with_columns(interval=pl.Series(np.floor(since / step_s).astype(np.int64)))
        .sort(how.late, descending=True)
        .group_by("interval")
        .first()
        .sort("interval")
    )
    return Latest(
        (chosen["interval"].to_numpy() + 1) * step_s,
        chosen[how.late].to_numpy().astype(float),
        chosen[how.who].to_list(),
    )
