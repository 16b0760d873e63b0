"""Reading a run directory: for the report, for notebooks, for comparing runs."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from testbed.errors import NotFoundError, UnsupportedError
from testbed.fidelity.verdict import Verdict
from testbed.results import layout


class RunData:
    """A complete run; its tables are read when they are asked for.

    Args:
        path: the run directory.
        run: what run.json holds.
        verdict: what verdict.json holds.
    """

    def __init__(self, path: Path, run: dict[str, Any], verdict: Verdict) -> None:
        self.path = path
        self.run = run
        self.verdict = verdict
        self._tables: dict[str, pl.DataFrame] = {}

    @property
    def tables(self) -> list[str]:
        """Names of the tables that there are."""
        suffix = layout.TABLE_SUFFIX
        return sorted(file.name.removesuffix(suffix) for file in self.path.glob(f"*{suffix}"))

    def table(self, name: str) -> pl.DataFrame:
        """A table by its name.

        Raises:
            NotFoundError: the run has no such table, and says which it has; or it is damaged.
        """
        if name not in self._tables:
            file = layout.table_path(self.path, name)
            if not file.is_file():
                raise NotFoundError(
                    f"the run {self.path.name} has no table {name!r}",
                    hint=f"tables: {', '.join(self.tables) or 'none'}",
                )
            try:
                self._tables[name] = pl.read_parquet(file)
            except (pl.exceptions.PolarsError, OSError) as error:
                raise NotFoundError(
                    f"the table {file} cannot be read: {error}",
                    hint="the run is damaged: run it again",
                ) from None
        return self._tables[name]

    @cached_property
    def policies(self) -> dict[str, dict[str, Any]]:
        """Variant -> what run.json says of it: `summary`, `window_s`, `tcp`, …"""
        found: dict[str, dict[str, Any]] = self.run["policies"]
        return found

    @property
    def requests(self) -> pl.DataFrame:
        """The requests of all policies; columns as docs/run-directory.md has them."""
        return self.table("requests")

    @property
    def transfers(self) -> pl.DataFrame:
        """The transfers of all policies; columns as docs/run-directory.md has them."""
        return self.table("transfers")

    @property
    def nics(self) -> pl.DataFrame:
        """The kernel's counters of all policies; see `testbed.results.nics`."""
        return self.table("nics")

    @property
    def machine(self) -> pl.DataFrame:
        """The machine during all policies; see `testbed.fidelity.monitor.MachineSample`."""
        return self.table("machine")


def load(path: Path | str) -> RunData:
    """Read a run directory (`testbed.results.layout.find_run` finds one by its name).

    Args:
        path: of the directory, e.g. "runs/latest"; of any layout version up to this testbed's.

    Raises:
        NotFoundError: it is not a complete run, or a file of it cannot be read.
        UnsupportedError: a newer testbed wrote it.
    """
    path = Path(path)
    for file, how in ((layout.SET, "sets.load_set"), (layout.SWEEP, "points.load_sweep")):
        if (path / file).is_file():
            raise NotFoundError(
                f"{path} holds several runs", hint=f"testbed.results.{how} reads it"
            )
    run = document_of(path / layout.RUN)
    verdict = msgspec.convert(_json(path / layout.VERDICT), Verdict)
    return RunData(path, run, verdict)


def document_of(file: Path) -> dict[str, Any]:
    """What run.json, set.json or sweep.json holds.

    Raises:
        NotFoundError: it is not there, or is something else.
        UnsupportedError: a newer testbed wrote it.
    """
    found = _json(file)
    version = found.get("layout_version")
    if not isinstance(version, int) or version < 1:
        raise NotFoundError(
            f"{file} is not of this testbed: it has no layout_version",
            hint="give the directory of a run, e.g. runs/latest",
        )
    if version > layout.LAYOUT_VERSION:
        raise UnsupportedError(
            f"{file.parent} has layout version {version}; this testbed reads up to "
            f"{layout.LAYOUT_VERSION}",
            hint="upgrade dualpath-testbed to read it",
        )
    return found


def _json(file: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except FileNotFoundError:
        raise NotFoundError(
            f"{file.parent} is not a complete run: it has no {file.name}",
            hint="give the directory of a run, e.g. runs/latest",
        ) from None
    except msgspec.DecodeError as error:
        raise NotFoundError(
            f"{file} cannot be read: {error}", hint="the run is damaged: run it again"
        ) from None
