"""What a sweep came to: its table, its figure, and a summary for people and programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich import box
from rich.markup import escape
from rich.table import Table

from testbed.errors import ReportError, TestbedError, UnfaithfulError, UsageError, no_space
from testbed.metrics import label, show_interval
from testbed.report import attempt
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
        unwritten: why there are none.
    """

    sweep: SweepData
    table: Path | None
    figures: list[Path]
    unwritten: tuple[ReportError, ...] = ()

    @property
    def unfaithful(self) -> list[Path]:
        """Runs whose verdict is FAIL."""
        return [run.path for _, runs in self.sweep.points for run in runs.unfaithful]

    def as_json(
        self, failed: Mapping[str, TestbedError], unwritten: Sequence[ReportError] = ()
    ) -> dict[str, Any]:
        """The documented object of `testbed sweep --json`.

        Args:
            failed: label of a job -> the error that ended it.
            unwritten: why runs have no report.
        """
        return {
            "sweep": str(self.sweep.path),
            "points": len(self.sweep.asked["points"]),
            "runs": sum(len(runs.runs) for _, runs in self.sweep.points),
            "unfaithful": [str(path) for path in self.unfaithful],
            "failed": {job: error.message for job, error in failed.items()},
            "table": None if self.table is None else str(self.table),
            "figures": [str(file) for file in self.figures],
            "unwritten": [error.message for error in (*unwritten, *self.unwritten)],
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

    def judge(
        self,
        failed: Mapping[str, TestbedError],
        unwritten: Sequence[ReportError] = (),
        *,
        accept_unfaithful: bool = False,
    ) -> None:
        """Return only if every run was made and may be believed.

        Args:
            failed: label of a job -> the error that ended it.
            unwritten: why runs have no report.
            accept_unfaithful: a verdict of FAIL is not an error.

        Raises:
            TestbedError: the first error that ended a run, with its exit status.
            UnfaithfulError: a run has the verdict FAIL.
            ReportError: a report is not there.
        """
        unwritten = [*unwritten, *self.unwritten]
        for job, error in failed.items():
            error.add_note(
                f"that was {job}, the first of {len(failed)} runs of the sweep that failed; "
                "the same command runs them again"
            )
            attempt.tell(error, unwritten)
            raise error
        if self.unfaithful and not accept_unfaithful:
            doubtful = UnfaithfulError(
                f"{len(self.unfaithful)} runs of {self.sweep.path} have the verdict FAIL, "
                f"the first: {self.unfaithful[0]}",
                hint="--retry-unfaithful runs them again; --accept-unfaithful exits 0 all the same",
            )
            attempt.tell(doubtful, unwritten)
            raise doubtful
        attempt.judge(unwritten)


def write(path: Path) -> Written:
    """Write the table, the figure and the page of a sweep, of what is complete.

    A page that cannot be written is no error here: see `Written.unwritten`.

    Raises:
        UsageError: the table cannot be written.
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
        part.unlink(missing_ok=True)
        if no_space(error):
            raise  # it says so itself
        raise UsageError(
            f"{table} cannot be written: {error.strerror}",
            hint="see that there is space, and yours",
        ) from None
    pages: list[Path] = []
    failed = attempt.attempt(lambda: pages.extend(write_page(sweep)), path)
    return Written(sweep, table, pages, () if failed is None else (failed,))
