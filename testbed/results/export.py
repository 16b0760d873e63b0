"""Tables for other programs: CSV, where a cell that holds a list is JSON text, or Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec
import polars as pl

from testbed.errors import NotFoundError, UsageError, no_space
from testbed.results import layout
from testbed.results.points import load_sweep, rows
from testbed.results.sets import load_set

Format: TypeAlias = Literal["csv", "parquet"]
SUMMARY = "summary"


def tables(path: Path) -> list[str]:
    """The tables that there are: `summary`, and those that the runs have."""
    names = dict.fromkeys(name for run in _runs(path) for name in load_set(run).runs[0].tables)
    return [SUMMARY, *sorted(names)]


def table(path: Path, name: str) -> pl.DataFrame:
    """One table of a run, a set or a sweep.

    `summary` has a row for each run and policy; every other one is that of the runs.  Where there
    are several runs, a first column `run` says which.

    Args:
        path: a directory that `testbed.results.layout.find_results` found.
        name: of the table.

    Raises:
        NotFoundError: there is no such table; says which there are.
    """
    if name == SUMMARY:
        return summary(path)
    known = tables(path)
    if name not in known:
        raise NotFoundError(f"{path} has no table {name!r}", hint=f"tables: {', '.join(known)}")
    runs = [load_set(run).runs[0] for run in _runs(path)]
    frames = [(run, run.table(name)) for run in runs if name in run.tables]
    if path.resolve() == frames[0][0].path.resolve():
        return frames[0][1]
    return pl.concat(
        [
            frame.select(pl.lit(str(run.path.relative_to(path))).alias("run"), pl.all())
            for run, frame in frames
        ],
        how="diagonal_relaxed",  # an older run has fewer columns
    )


def summary(path: Path) -> pl.DataFrame:
    """A row for each run and policy, with every figure that a column can hold."""
    if (path / layout.SWEEP).is_file():
        return load_sweep(path).table()
    return rows([({}, load_set(path))], path)


def export(path: Path, names: Sequence[str], out: Path, kind: Format) -> list[Path]:
    """Write tables as files.

    Args:
        path: of a run, a set or a sweep.
        names: of tables; empty is all of them.
        out: directory for NAME.csv or NAME.parquet; made if need be.
        kind: of files.

    Raises:
        NotFoundError: there is no such table.
        UsageError: they cannot be written there.
        CapacityError: there is no room for them.
    """
    chosen = {name: table(path, name) for name in (names or tables(path))}
    written = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, frame in chosen.items():
            file = out / f"{name}.{kind}"
            if kind == "csv":
                _flat(frame).write_csv(file)
            else:
                frame.write_parquet(file)
            written.append(file)
    except OSError as error:
        if full := no_space(error):
            raise full from None
        raise UsageError(
            f"{out} cannot be written: {error.strerror or error}",
            hint="choose a directory of yours with --to",
        ) from None
    return written


def _runs(path: Path) -> list[Path]:
    """The directories of all complete runs."""
    if (path / layout.SWEEP).is_file():
        return [run.path for _, runs in load_sweep(path).points for run in runs.runs]
    return [run.path for run in load_set(path).runs]


def _flat(frame: pl.DataFrame) -> pl.DataFrame:
    """The same with lists as JSON text: a CSV has no lists."""
    nested = [name for name, dtype in frame.schema.items() if dtype.is_nested()]
    return frame.with_columns(
        pl.Series(name, [None if x is None else _json(x) for x in frame[name].to_list()], pl.String)
        for name in nested
    )


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
