"""Reading several runs of one scenario together: what `run --repeat` made, or a single run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from testbed.errors import NotFoundError
from testbed.results import layout, statistics
from testbed.results.flat import numbers
from testbed.results.intervals import CONFIDENCE, Interval
from testbed.results.load import RunData, document_of, load
from testbed.results.statistics import Change


class RunSet:
    """Runs of one scenario that differ in their seeds only.

    Args:
        path: the directory of the set, or of the one run.
        scenario: what was asked, seeds aside.
        runs: the complete ones, by the number of their repeat.
        asked: how many there were to be.
    """

    def __init__(
        self, path: Path, scenario: dict[str, Any], runs: Mapping[int, RunData], asked: int
    ) -> None:
        self.path = path
        self.scenario = scenario
        self.numbers = sorted(runs)
        self.runs = [runs[number] for number in self.numbers]
        self.asked = asked
        self._figures = [
            {name: numbers(each["summary"]) for name, each in run.policies.items()}
            for run in self.runs
        ]

    @property
    def variants(self) -> list[str]:
        """The policies, in the scenario's order."""
        return list(dict.fromkeys(name for run in self.runs for name in run.policies))

    @property
    def seeds(self) -> list[int]:
        """Of the runs."""
        return [int(run.run["seed"]) for run in self.runs]

    @property
    def unfaithful(self) -> list[RunData]:
        """The runs whose verdict is FAIL."""
        return [run for run in self.runs if run.verdict.status != "PASS"]

    def metrics(self, variant: str) -> list[str]:
        """Dotted names of the numbers that any run has of a variant."""
        return list(dict.fromkeys(n for each in self._figures for n in each.get(variant, {})))

    def values(self, variant: str, metric: str) -> dict[int, float]:
        """Seed -> a variant's figure; without the runs that do not have it.

        Args:
            variant: a policy.
            metric: dotted, e.g. "ttft_s.p50".
        """
        return {
            seed: each[variant][metric]
            for seed, each in zip(self.seeds, self._figures, strict=True)
            if metric in each.get(variant, {})
        }

    def median(self, variant: str, metric: str) -> Interval | None:
        """The median over the runs, with its interval; None if no run has the figure.

        Of a single run it is the interval that the run itself gives (`interval_NAME`: low, high),
        which is of what varies within a run, and not between runs.
        """
        values = list(self.values(variant, metric).values())
        if len(values) != 1:
            return statistics.median(values) if values else None
        for run in self.runs:
            within = run.policies.get(variant, {}).get("summary", {}).get(f"interval_{metric}")
            if isinstance(within, list) and len(within) == 2 and None not in within:
                low, high = map(float, within)
                return Interval(values[0], low, high, CONFIDENCE, 1)
        return statistics.median(values)

    def change(
        self, variant: str, metric: str, baseline: str, of: RunSet | None = None
    ) -> Change | None:
        """How a variant compares with a baseline, in one metric.

        Runs with the same seed are pairs if each run of either side has its partner.

        Args:
            variant: a policy of this set.
            metric: dotted.
            baseline: a policy of the other set.
            of: the other set; None is this one.

        Returns:
            None if a side has no value.
        """
        mine = self.values(variant, metric)
        theirs = (of or self).values(baseline, metric)
        if not mine or not theirs:
            return None
        paired = mine.keys() == theirs.keys()
        against = [theirs[seed] for seed in mine] if paired else list(theirs.values())
        return statistics.change(list(mine.values()), against, paired=paired)


def load_set(path: Path | str) -> RunSet:
    """Read a set of runs; a single run is a set of one.

    Runs that were interrupted are not part of it; those whose verdict is FAIL are
    (`RunSet.unfaithful`).

    Raises:
        NotFoundError: it is neither, a file cannot be read, or no run of it is complete.
        UnsupportedError: a newer testbed wrote it.
    """
    path = Path(path)
    if (path / layout.RUN).is_file():
        run = load(path)
        return RunSet(path, run.run["scenario"], {1: run}, 1)
    document = document_of(path / layout.SET)
    numbered = {int(each["seed"]): int(each["number"]) for each in document["repeats"]}
    found = [run for run in map(load, layout.all_runs(path)) if not run.run.get("interrupted")]
    runs = {numbered[seed]: run for run in found if (seed := int(run.run["seed"])) in numbered}
    if not runs:
        raise NotFoundError(
            f"no run of the set {path} is complete",
            hint="run it again; what its programs said is in the logs of each run",
        )
    return RunSet(path, document["scenario"], runs, len(numbered))
