"""The table `nics`: what every NIC carried, by lane, from the kernel's counters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import polars as pl

from testbed.kernel.samples import MeterSample
from testbed.results.writer import VARIANT_COLUMN

ALL_LANES = "all"
_Row: TypeAlias = tuple[str, int, int, int | None, int, int | None, int | None]
_NO_BACKLOG: tuple[int | None, int | None] = (0, 0)

SCHEMA: dict[str, pl.DataType] = {
    VARIANT_COLUMN: pl.String(),
    "t_s": pl.Float64(),
    "nic": pl.String(),
    "kind": pl.String(),
    "node": pl.String(),
    "role": pl.String(),
    "direction": pl.String(),
    "rate_bps": pl.Int64(),
    "lane": pl.String(),
    "bytes": pl.Int64(),
    "packets": pl.Int64(),
    "drops": pl.Int64(),
    "overlimits": pl.Int64(),
    "backlog_bytes": pl.Int64(),
    "backlog_packets": pl.Int64(),
}


def rows(variant: str, samples: Sequence[Sequence[MeterSample]]) -> pl.DataFrame:
    """The samples of one variant as rows: one for each lane, and one for all lanes together.

    Counters are totals since the cluster was made; `t_s` is time.monotonic().  The kernel counts
    drops and backlog for a whole shaper only.  A lane's drops are null; its backlog is known where
    nothing waits at all, and where it alone has moved from the sample before to the one after.
    """
    columns: dict[str, list[object]] = {name: [] for name in SCHEMA if name != VARIANT_COLUMN}
    append = {name: column.append for name, column in columns.items()}
    for number, sample in enumerate(samples):
        around = samples[max(0, number - 1)], samples[min(number + 1, len(samples) - 1)]
        for index, meter in enumerate(sample):
            waits = _waiting_lane(meter, around[0][index], around[1][index])
            lanes: list[_Row] = [
                (ALL_LANES, meter.bytes, meter.packets, meter.drops, meter.overlimits,
                 meter.backlog_bytes, meter.backlog_packets)
            ]  # fmt: skip
            for name, c in meter.lanes.items():
                backlog = _NO_BACKLOG
                if waits == name:
                    backlog = meter.backlog_bytes, meter.backlog_packets
                elif waits is None and meter.backlog_packets:
                    backlog = None, None
                lanes.append((name, c.bytes, c.packets, None, c.overlimits, *backlog))
            for lane, size_bytes, packets, drops, overlimits, backlog_bytes, waiting in lanes:
                append["t_s"](meter.t_s)
                append["nic"](meter.nic)
                append["kind"](meter.kind)
                append["node"](meter.node)
                append["role"](meter.role)
                append["direction"](meter.direction)
                append["rate_bps"](meter.rate_bps)
                append["lane"](lane)
                append["bytes"](size_bytes)
                append["packets"](packets)
                append["drops"](drops)
                append["overlimits"](overlimits)
                append["backlog_bytes"](backlog_bytes)
                append["backlog_packets"](waiting)
    return pl.DataFrame(
        {
            VARIANT_COLUMN: pl.repeat(variant, len(columns["t_s"]), dtype=pl.String(), eager=True),
            **{name: pl.Series(values, dtype=SCHEMA[name]) for name, values in columns.items()},
        },
        schema=SCHEMA,
    )


def _waiting_lane(meter: MeterSample, before: MeterSample, after: MeterSample) -> str | None:
    """The lane that all of the backlog is in; None if several may be."""
    moved = [
        name for name in meter.lanes if before.lanes[name].packets != after.lanes[name].packets
    ]
    return moved[0] if len(moved) == 1 else None


def write_nics(path: Path, by_variant: Mapping[str, Sequence[Sequence[MeterSample]]]) -> None:
    """Write the samples of all variants as one Parquet table."""
    frames = [rows(variant, samples) for variant, samples in by_variant.items()]
    (pl.concat(frames) if frames else pl.DataFrame(schema=SCHEMA)).write_parquet(path)
