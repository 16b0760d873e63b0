"""The table `nics`: what every NIC carried, by lane, from the kernel's counters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from testbed.kernel.samples import MeterSample
from testbed.results.writer import VARIANT_COLUMN

ALL_LANES = "all"

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
    "backlog_bytes": pl.Int64(),
}


def rows(variant: str, samples: Sequence[Sequence[MeterSample]]) -> pl.DataFrame:
    """The samples of one variant as rows: one for each lane, and one for all lanes together.

    Counters are totals since the cluster was made; `t_s` is time.monotonic().  The kernel counts
    drops and backlog for a whole shaper only, so a lane's are null.
    """
    columns: dict[str, list[object]] = {name: [] for name in SCHEMA if name != VARIANT_COLUMN}
    append = {name: column.append for name, column in columns.items()}
    for sample in samples:
        for meter in sample:
            lanes: list[tuple[str, int, int, int | None, int | None]] = [
                (ALL_LANES, meter.bytes, meter.packets, meter.drops, meter.backlog_bytes)
            ]
            lanes += [(name, c.bytes, c.packets, None, None) for name, c in meter.lanes.items()]
            for lane, size_bytes, packets, drops, backlog_bytes in lanes:
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
                append["backlog_bytes"](backlog_bytes)
    return pl.DataFrame(
        {
            VARIANT_COLUMN: pl.repeat(variant, len(columns["t_s"]), dtype=pl.String(), eager=True),
            **{name: pl.Series(values, dtype=SCHEMA[name]) for name, values in columns.items()},
        },
        schema=SCHEMA,
    )


def write_nics(path: Path, by_variant: Mapping[str, Sequence[Sequence[MeterSample]]]) -> None:
    """Write the samples of all variants as one Parquet table."""
    frames = [rows(variant, samples) for variant, samples in by_variant.items()]
    (pl.concat(frames) if frames else pl.DataFrame(schema=SCHEMA)).write_parquet(path)
