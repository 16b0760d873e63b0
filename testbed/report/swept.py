"""What a sweep came to: its table, its figure, and a summary for people and programs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rich import box
from rich.markup import escape
from rich.table import Table

from testbed.errors import TestbedError, UnfaithfulError, UsageError
from testbed.metrics import label, show_interval
from testbed.report.multiples import medians, metrics
from testbed.report.sweeps import write_page
from testbed.report.words import brackets
from testbed.results import layout
from testbed.results.comparable import shown
from testbed.results.points import SweepData, load_sweep
from testbed.terminal import rendered


class Written(NamedTuple):
    """A sweep, its table and its figure.

    Args:
        sweep: as it is now.
        table: the Parquet file of all runs; None if none is complete.
        figures: files, and the page.
    """

    sweep: SweepData
    table: Path | None
    figures: list[Path]

    @property
    def unfaithful(self) -> list[Path]:
        """Runs whose verdict is FAIL."""
        return [run.path for _, runs in self.sweep.points for run in runs.unfaithful]

    def as_json(self, failed: Mapping[str, TestbedError]) -> dict[str, Any]:
        """The documented object of `testbed sweep --json`."""
        return {
            "sweep": str(self.sweep.path),
            "points": len(self.sweep.asked["points"]),
            "runs": sum(len(runs.runs) for _, runs in self.sweep.points),
            "unfaithful": [str(path) for path in self.unfaithful],
            "failed": {job: error.message for job, error in failed.items()},
            "table": None if self.table is None else str(self.table),
            "figures": [str(file) for file in self.figures],
        }

    def lines(self, failed: Mapping[str, TestbedError]) -> list[str]:
        """The same for people, with the medians of the figure's metrics."""
        parts: list[str | Table] = []
        if self.unfaithful:
            parts.append(
                f"[bold red]FAIL[/bold red]  {len(self.unfaithful)} runs must not be believed, "
                f"the first: {escape(str(self.unfaithful[0]))}"
            )
        parts += [
            f"[red]failed[/red]: {escape(job)}: {escape(error.message)}"
            for job, error in failed.items()
        ]
        explained = brackets(medians(self.sweep, metrics(self.sweep)))
        parts += [
            self._table(),
            *explained,
            "",
            *(str(file) for file in [self.table, *self.figures] if file),
        ]
        return rendered(parts)

    def _table(self) -> Table:
        names = metrics(self.sweep)
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for key in self.sweep.keys:
            table.add_column(escape(key))
        table.add_column("policy")
        for name in names:
            table.add_column(escape(label(name)), justify="right")
        for values, runs in self.sweep.points:
            for variant in runs.variants:
                cells = [show_interval(name, runs.median(variant, name)) for name in names]
                keys = [shown(values[key]) for key in self.sweep.keys]
                table.add_row(*map(escape, [*keys, variant, *cells]))
        return table

    def judge(self, failed: Mapping[str, TestbedError], *, accept_unfaithful: bool = False) -> None:
        """Return only if every run was made and may be believed.

        Raises:
            TestbedError: the first error that ended a run, with its exit status.
            UnfaithfulError: a run has the verdict FAIL.
        """
        for job, error in failed.items():
            error.add_note(
                f"that was {job}, the first of {len(failed)} runs of the sweep that failed; "
                "the same command runs them again"
            )
            raise error
        if self.unfaithful and not accept_unfaithful:
            raise UnfaithfulError(
                f"{len(self.unfaithful)} runs of {self.sweep.path} have the verdict FAIL, "
                f"the first: {self.unfaithful[0]}",
                hint="--retry-unfaithful runs them again; --accept-unfaithful exits 0 all the same",
            )


def write(path: Path) -> Written:
    """Write the table, the figure and the page of a sweep, of what is complete.

    Raises:
        NotFoundError: the figure is asked for with a key or a number that there is not.
        UsageError: they cannot be written.
    """
    sweep = load_sweep(path)
    if not sweep.points:
        return Written(sweep, None, [])
    table = layout.table_path(path, layout.POINTS)
    part = table.with_name(f".{table.name}.part")
    try:
        sweep.table().write_parquet(part)
        part.replace(table)
    except OSError as error:
        raise UsageError(
            f"{table} cannot be written: {error.strerror}",
            hint="see that there is space, and yours",
        ) from None
    return Written(sweep, table, write_page(sweep))
