"""Whether runs may be set beside each other: what they were asked for, where they were made.

A comparison shows the effect of what differs, so it has to be one thing that differs, or what its
author names.  Anything else would be credited with the effect of something else.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from testbed.errors import UsageError
from testbed.results.load import RunData

# What names a run, what a repeat draws, and what is compared inside of a run.
_NO_DIFFERENCE = frozenset({"name", "description", "seed", "policies"})
_SCALE = "scale"
_OPEN = "set"  # a section of parameters, which are there or not; other keys are always written
_ABSENT = object()
_COMMIT_DIGITS = 10  # that tell one from another


class Difference(NamedTuple):
    """A scenario key that has not the same value everywhere.

    Args:
        key: dotted.
        values: one for each scenario, in order; None also where there is no such key.
    """

    key: str
    values: list[Any]


class Differences(NamedTuple):
    """Where scenarios differ.

    Args:
        varied: keys that all of them have.
        unknown: keys that some do not know: another version of the testbed wrote them.
    """

    varied: list[Difference]
    unknown: list[str]


def differences(
    scenarios: Sequence[Mapping[str, Any]], *, besides: Collection[str] = _NO_DIFFERENCE
) -> Differences:
    """Compare scenarios key by key.

    Args:
        scenarios: as run.json and set.json have them.
        besides: keys that are no difference.
    """
    found = Differences([], [])
    trimmed = [{k: v for k, v in each.items() if k not in besides} for each in scenarios]
    _collect(trimmed, (), found)
    return found


def _collect(
    sections: Sequence[Mapping[str, Any]], path: tuple[str, ...], into: Differences
) -> None:
    for key in dict.fromkeys(key for section in sections for key in section):
        values = [section.get(key, _ABSENT) for section in sections]
        present = [value for value in values if value is not _ABSENT]
        here = (*path, key)
        if all(isinstance(value, Mapping) for value in present) and len(present) == len(values):
            _collect(present, here, into)
        elif len(present) < len(values) and path[-1:] != (_OPEN,):
            into.unknown.append(".".join(here))
        elif any(value != present[0] for value in values):
            plain = [None if value is _ABSENT else value for value in values]
            into.varied.append(Difference(".".join(here), plain))


def check(found: Differences, varies: Sequence[str]) -> list[Difference]:
    """What is compared: one key, or the keys that the author names.

    Args:
        found: where the scenarios differ.
        varies: dotted keys, or sections, that may differ.

    Raises:
        UsageError: they differ in more than that, or in their scale without its being named.
    """
    named = [each for each in found.varied if _covered(each.key, varies)]
    others = [each for each in found.varied if each not in named]
    scaled = [each for each in others if each.key.partition(".")[0] == _SCALE]
    plugins = [each for each in found.varied if each.key == "plugin"]
    if plugins:
        raise UsageError(
            f"the runs are of different workloads: {in_words(plugins)}",
            hint="figures of one name need not mean the same there",
        )
    unused = [key for key in varies if not any(_covered(each.key, [key]) for each in found.varied)]
    if unused:
        raise UsageError(
            f"the runs do not differ in {', '.join(unused)}",
            hint=f"they differ in {in_words(found.varied)}"
            if found.varied
            else "in nothing at all",
        )
    if scaled:
        raise UsageError(
            f"the runs have different scales: {in_words(scaled)}",
            hint="run both at one scale; --varies scale compares them all the same, and only their "
            "full-scale figures mean anything then",
        )
    if len(others) > 1 or (others and varies):
        options = " ".join(f"--varies {each.key}" for each in others)
        raise UsageError(
            f"the runs differ in more than one thing: {in_words(found.varied)}",
            hint=f"if that is what you compare, say so: {options} (a section will do)",
        )
    return found.varied


def remarks(sides: Mapping[str, Sequence[RunData]], found: Differences) -> list[str]:
    """What a reader should know before believing a comparison.

    Args:
        sides: tag -> its runs.
        found: where their scenarios differ.
    """
    said = []
    if any(each.key.partition(".")[0] == _SCALE for each in found.varied):
        said.append("NOT AT ONE SCALE: only full-scale figures may be compared")
    if found.unknown:
        said.append(
            f"written by different versions: not all know {', '.join(sorted(found.unknown))}"
        )
    for what, of in _ORIGINS.items():
        values = {
            tag: list(dict.fromkeys(_at(run.run, of) for run in runs))
            for tag, runs in sides.items()
        }
        every = dict.fromkeys(value for each in values.values() for value in each)
        if len(every) > 1:
            by_tag = "; ".join(f"{tag} {', '.join(each)}" for tag, each in values.items())
            said.append(f"different {what}: {by_tag}")
    dirty = [tag for tag, runs in sides.items() if any(_is_dirty(run) for run in runs)]
    if dirty:
        said.append(f"made from a checkout with changes that no commit has: {', '.join(dirty)}")
    return said


_ORIGINS = {
    "versions of the testbed": ("versions", "dualpath-testbed"),
    "commits": ("git", "commit"),
    "kernels": ("kernel", "release"),
    "processors": ("machine", "cpu_model"),
    "numbers of cores": ("machine", "cores_usable"),
}


def _at(run: Mapping[str, Any], path: Sequence[str]) -> str:
    found: Any = run
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    if found is None:
        return "unknown"
    return str(found)[:_COMMIT_DIGITS] if path[-1] == "commit" else str(found)


def _is_dirty(run: RunData) -> bool:
    return bool((run.run.get("git") or {}).get("dirty"))


def _covered(key: str, varies: Sequence[str]) -> bool:
    return any(key == each or key.startswith(f"{each}.") for each in varies)


def in_words(found: Sequence[Difference]) -> str:
    """Differences in one line: "arbitration (fair / fifo); workload.agents (8 / 16)"."""
    return "; ".join(
        f"{each.key} ({' / '.join(shown(value) for value in each.values)})" for each in found
    )


def shown(value: Any) -> str:
    """A scenario's value in a few characters."""
    if value is None:
        return "–"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
