"""The grid of a sweep: a file that names a scenario and values of its fields becomes points."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from pydantic import Field, ValidationError, field_validator

from testbed.errors import NotFoundError, ScenarioError
from testbed.experiment import record, repeats
from testbed.experiment.document import parse, read_source
from testbed.experiment.plugins import find_scenario
from testbed.experiment.problems import describe
from testbed.experiment.quantities import FROM_FILE
from testbed.experiment.record import Asked
from testbed.experiment.repeats import Repeat
from testbed.experiment.scenario import AUTO, Section

_MOST_POINTS = 10_000


class FigureChoice(Section):
    """What the figure of small multiples shows."""

    x: str | None = None
    """The key on the horizontal axis; the first whose values are numbers."""

    metrics: list[str] = Field(default_factory=list)
    """A row of panels each, by dotted names of figures; what runs compare policies by."""


class Sweep(Section):
    """A sweep file."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=60)
    """Names the directory: lower-case letters, digits, `.`, `_` and `-`."""

    description: str = ""
    """What the sweep shows, in one line."""

    scenario: str
    """A shipped scenario by its name, or a YAML file; relative to the sweep file."""

    set: Mapping[str, Any] = Field(default_factory=dict)
    """Dotted keys and values that replace the scenario's, for all points."""

    grid: Mapping[str, list[Any]]
    """Dotted keys and their values: a point for each combination."""

    repeats: int = Field(default=1, ge=1)
    """Runs of each point, with derived seeds."""

    figure: FigureChoice = FigureChoice()
    """What the figure shows."""

    @field_validator("grid")
    @classmethod
    def _grid_of_values(cls, value: Mapping[str, list[Any]]) -> Mapping[str, list[Any]]:
        if not value:
            raise ValueError("it has no keys: `workload.agents: [8, 16]` makes two points")
        for key, values in value.items():
            if not values:
                raise ValueError(f"{key} has no values")
            if any(each in values[:index] for index, each in enumerate(values)):
                raise ValueError(f"{key} has a value twice")
        return value


class Point(NamedTuple):
    """One combination of values.

    Args:
        values: dotted key -> value.
        directory: name of its set's directory.
        asked: its scenario.
        repeats: its runs.
    """

    values: dict[str, Any]
    directory: str
    asked: Asked
    repeats: list[Repeat]

    @property
    def label(self) -> str:
        """The values in words."""
        return label(self.values)


def load(path: Path) -> tuple[Sweep, list[Point]]:
    """Read a sweep file, and check the scenario of each of its points.

    Raises:
        NotFoundError: there is no such file, or no such scenario.
        ScenarioError: what is wrong with it, or with a point's scenario.
    """
    if not path.exists() or path.is_dir():
        raise NotFoundError(
            f"there is no sweep file {path}", hint="`testbed sweep --help` shows what one holds"
        )
    document = parse(read_source(path))
    try:
        asked = Sweep.model_validate(document.content, context=FROM_FILE)
    except ValidationError as error:
        problems = describe(error, document, Sweep)
        text = "\n  ".join([f"{document.source.label} is no sweep that can be run:", *problems])
        raise ScenarioError(text, hint="docs/compare.md says what a sweep file holds") from None
    both = sorted(asked.set.keys() & asked.grid.keys())
    if both:
        raise ScenarioError(
            f"{path}: {', '.join(both)}: in `set` and in `grid`", hint="leave one of them out"
        )
    if asked.figure.x is not None and asked.figure.x not in asked.grid:
        raise ScenarioError(
            f"{document.place(('figure', 'x'))}: figure.x: the grid has no key {asked.figure.x!r}",
            hint=f"keys: {', '.join(asked.grid)}",
        )
    if _has_scales_of_its_own(asked, path):
        raise ScenarioError(
            f"{path}: `scale: auto` would give each point a scale of its own",
            hint="give all points one, as `set: {scale: {rate: 2000, bytes: 1000}}`; "
            f"`testbed predict {asked.scenario} --scale auto` says what this machine carries",
        )
    values = combinations(asked.grid)
    if len(values) > _MOST_POINTS:
        raise ScenarioError(
            f"{path}: the grid has {len(values)} points", hint=f"{_MOST_POINTS} at most"
        )
    points = [_point(asked, path, each) for each in values]
    by_directory: dict[str, Point] = {}
    for point in points:
        same = by_directory.setdefault(point.directory.rpartition("-")[2], point)
        if same is not point:
            raise ScenarioError(
                f"{path}: the points {same.label} and {point.label} are the same scenario",
                hint="leave one of the values out",
            )
    return asked, points


def _has_scales_of_its_own(asked: Sweep, path: Path) -> bool:
    """Whether a point's scale is to be chosen, by what it needs: of each another one."""
    given = [asked.set["scale"]] if "scale" in asked.set else asked.grid.get("scale", [])
    if not given:
        given = [parse(find_scenario(_name(asked, path))).content.get("scale")]
    return AUTO in given


def _name(asked: Sweep, path: Path) -> str:
    """Of the scenario: one beside the sweep file, or a shipped one."""
    is_file = Path(asked.scenario).suffix in (".yaml", ".yml")
    return str(path.parent / asked.scenario) if is_file else asked.scenario


def _point(asked: Sweep, path: Path, values: dict[str, Any]) -> Point:
    # JSON is YAML: a value means here what it meant in the sweep file.
    replaced = {key: msgspec.json.encode(v).decode() for key, v in {**asked.set, **values}.items()}
    try:
        found = record.load(_name(asked, path), replaced)
    except ScenarioError as error:
        raise ScenarioError(
            f"{path}: point {label(values)}: {error.message}", hint=error.hint
        ) from None
    scenario, workload = found
    runs = repeats.planned(scenario.seed, workload.variants(scenario), asked.repeats)
    return Point(values, directory_of(values, scenario.model_dump(mode="json")), found, runs)


def combinations(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination of the grid's values; the last key changes fastest."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def label(values: Mapping[str, Any]) -> str:
    """Values in words: "agents=8, arbitration=fair"."""
    return ", ".join(f"{_short(key, values)}={_word(value)}" for key, value in values.items())


def _short(key: str, among: Mapping[str, Any]) -> str:
    last = key.rpartition(".")[2]
    alike = [other for other in among if other.rpartition(".")[2] == last]
    return last if len(alike) == 1 else key


def _word(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def directory_of(values: Mapping[str, Any], scenario: Mapping[str, Any]) -> str:
    """The name of a point's directory: its values, and a digest of its scenario."""
    same = {key: value for key, value in scenario.items() if key not in ("name", "description")}
    digest = hashlib.sha256(msgspec.json.encode(same, order="deterministic")).hexdigest()
    words = re.sub(r"[^A-Za-z0-9=._,-]+", "-", label(values).replace(", ", ","))
    return f"{words[:60]}-{digest[:10]}"
