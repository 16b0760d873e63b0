"""All runs of a set or of a sweep as one table: a row for each run and policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from testbed.errors import NotFoundError
from testbed.results import layout
from testbed.results.flat import flat
from testbed.results.load import document_of
from testbed.results.sets import RunSet, load_set
from testbed.results.writer import VARIANT_COLUMN, plain


class SweepData:
    """A sweep, as far as it has been run.

    Args:
        path: its directory.
        asked: what sweep.json holds.
        points: values and runs of each point that has a complete run.
    """

    def __init__(
        self, path: Path, asked: dict[str, Any], points: Sequence[tuple[dict[str, Any], RunSet]]
    ) -> None:
        self.path = path
        self.asked = asked
        self.points = list(points)

    @property
    def keys(self) -> list[str]:
        """The dotted keys of the grid."""
        return list(self.asked["grid"])

    def table(self) -> pl.DataFrame:
        """A row for each point, run and policy; see `rows`."""
        return rows(self.points, self.path)


def load_sweep(path: Path | str) -> SweepData:
    """Read a sweep; points without a complete run are left out.

    Raises:
        NotFoundError: it is no sweep, or a file of it cannot be read.
        UnsupportedError: a newer testbed wrote it.
    """
    path = Path(path)
    asked = document_of(path / layout.SWEEP)
    points = []
    for point in asked["points"]:
        try:
            points.append((dict(point["values"]), load_set(path / point["directory"])))
        except NotFoundError:
            continue
    return SweepData(path, asked, points)


def rows(points: Sequence[tuple[Mapping[str, Any], RunSet]], base: Path) -> pl.DataFrame:
    """Runs as a table.

    The columns are the keys of the grid, then `repeat`, `seed`, `policy`, `verdict`, `run`
    (relative to `base`), then every figure of a run's summary that a column can hold, by its
    dotted name.

    Args:
        points: values and runs of each.
        base: directory that the runs are in.
    """
    found: list[dict[str, Any]] = []
    for values, runs in points:
        for number, run in zip(runs.numbers, runs.runs, strict=True):
            for variant, said in run.policies.items():
                found.append(
                    {
                        **values,
                        "repeat": number,
                        "seed": run.run["seed"],
                        VARIANT_COLUMN: variant,
                        "verdict": run.verdict.status,
                        "run": _relative(run.path, base),
                        **flat(said["summary"]),
                    }
                )
    names = dict.fromkeys(name for row in found for name in row)
    return pl.DataFrame([_column(name, [row.get(name) for row in found]) for name in names])


def _relative(path: Path, base: Path) -> str:
    return str(path.relative_to(base)) if path.is_relative_to(base) else str(path)


def _column(name: str, values: Sequence[Any]) -> pl.Series:
    """A column of the narrowest type that holds every value; JSON text if only that does."""
    kinds = {type(value) for value in values if value is not None}
    if not kinds:
        return pl.Series(name, values, dtype=pl.Null())
    if kinds == {bool}:
        return pl.Series(name, values, dtype=pl.Boolean())
    if kinds == {int}:
        return pl.Series(name, values, dtype=pl.Int64())
    if kinds <= {int, float}:
        numbers = [None if value is None else float(value) for value in values]
        return pl.Series(name, numbers, dtype=pl.Float64())
    texts = [
        value if value is None or isinstance(value, str)
        else msgspec.json.encode(plain(value)).decode()
        for value in values
    ]  # fmt: skip
    return pl.Series(name, texts, dtype=pl.String())
