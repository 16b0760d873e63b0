"""One scenario several times: a *set* of runs, from which medians and intervals follow.

Each repeat has a seed of its own, derived from the scenario's, so that the same command makes the
same set.  Variants run one after another; a machine that slows down meanwhile would favour the
first.  So every second repeat runs them in reverse, A B B A, and a steady drift adds the same to
each variant's mean over a pair of repeats.

A set is a directory with ordinary run directories in it, and `set.json`, which says what was asked
and is written first (`testbed.experiment.sets`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from testbed.errors import UsageError
from testbed.experiment import record
from testbed.experiment.record import Asked, Finished
from testbed.experiment.runner import Progress
from testbed.results import layout
from testbed.results.writer import write_json


class Repeat(NamedTuple):
    """One run of a set.

    Args:
        number: from 1.
        seed: of this run's scenario.
        order: of the variants in time.
    """

    number: int
    seed: int
    order: tuple[str, ...]


def planned(seed: int, variants: Sequence[str], times: int) -> list[Repeat]:
    """The runs of a set.

    Args:
        seed: the scenario's; the first repeat has it, so that it is the run that there would be
            without repeats.
        variants: in the scenario's order.
        times: how many runs.

    Raises:
        UsageError: `times` is not at least 1.
    """
    if times < 1:
        raise UsageError(f"{times} repeats make no sense", hint="1 or more; 5 give an interval")
    seeds = derived_seeds(seed, times)
    forwards, backwards = tuple(variants), tuple(reversed(variants))
    return [
        Repeat(number, each, forwards if number % 2 else backwards)
        for number, each in enumerate(seeds, start=1)
    ]


def derived_seeds(seed: int, times: int) -> list[int]:
    """Different seeds that follow from one; a longer list begins with the shorter one.

    They are numpy's seed sequences, whose values numpy promises to keep.
    """
    found = [seed]
    number = 0
    while len(found) < times:
        number += 1
        derived = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        if derived not in found:
            found.append(derived)
    return found[:times]


def begin_set(path: Path, asked: Asked, repeats: Sequence[Repeat], argv: Sequence[str]) -> None:
    """Write what a set is to hold; the directory must be there."""
    write_json(path / layout.SET, document(asked, repeats, argv))


def document(asked: Asked, repeats: Sequence[Repeat], argv: Sequence[str]) -> dict[str, Any]:
    """What set.json holds."""
    return {
        "layout_version": layout.LAYOUT_VERSION,
        "name": asked.scenario.name,
        "command": list(argv),
        "scenario": asked.scenario.model_dump(mode="json"),
        "repeats": [each._asdict() for each in repeats],
    }


def run_one(
    asked: Asked,
    one: Repeat,
    path: Path,
    argv: Sequence[str],
    report: Callable[[Progress], None],
) -> Finished:
    """Make one run of a set, inside its directory.

    Raises:
        TestbedError: as `record.execute`.
    """
    seeded = Asked(asked.scenario.model_copy(update={"seed": one.seed}), asked.workload)
    return record.execute(seeded, path, argv, report, order=one.order)
