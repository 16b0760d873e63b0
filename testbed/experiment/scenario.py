"""A scenario: the file that says what a run does.

`Scenario` holds what every run has; a workload plug-in subclasses it with sections of its own.
Whatever is wrong with a file is reported at once, each error with its line.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    WrapValidator,
    field_validator,
    model_validator,
)
from pydantic.functional_validators import ModelWrapValidatorHandler

from testbed.errors import ScenarioError, UsageError
from testbed.experiment.document import Document, Source, parse, read_source, with_overrides
from testbed.experiment.problems import describe
from testbed.experiment.quantities import FROM_FILE, DurationS, PerSecond, RateBps, SizeBytes
from testbed.experiment.scale import Scale
from testbed.plan.settings import PlanSettings

__all__ = [
    "DurationS",
    "Network",
    "PerSecond",
    "RateBps",
    "Scale",
    "Scenario",
    "Section",
    "SizeBytes",
    "TopologyChoice",
    "json_schema",
    "load_scenario",
]

AUTO: Final = "auto"
"""A scale that is chosen by what the machine carries."""

AUTO_START: Final = Scale(rate=2000, bytes=1000)
"""Where the choice begins if a scenario says no more than `scale: auto`: its stretch stays."""

_FACTOR = {"type": "number", "exclusiveMinimum": 0}
_SCALE_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"const": AUTO},
        {
            "type": "object",
            "properties": {"rate": _FACTOR, "bytes": _FACTOR},
            "additionalProperties": False,
        },
    ]
}
_SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"


class Section(BaseModel):
    """A part of a scenario: frozen, and a key that it does not know is an error.

    The docstring below a field is its description in the JSON schema.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


def _scale(value: object, build: ModelWrapValidatorHandler[Scale]) -> Scale:
    if value == AUTO:
        raise ValueError(
            "auto is the largest scale that a machine carries: it is chosen when a scenario is "
            "loaded to be run (testbed.experiment.record.load)"
        )
    try:
        return build(value)
    except UsageError as error:
        raise ValueError(f"{error.message}; {error.hint}") from None


class TopologyChoice(Section):
    """Which topology, and how it is built."""

    name: str
    """A shipped topology or preset (see `testbed topologies`), or a file: `mine.py:name`."""

    set: Mapping[str, str | bool | int | float] = Field(default_factory=dict)
    """Parameters of the topology, as `testbed up --set key=value` takes them."""

    @field_validator("set", mode="before")
    @classmethod
    def _values_not_sections(cls, value: object) -> object:
        if isinstance(value, Mapping):
            nested = [key for key, inner in value.items() if isinstance(inner, list | dict)]
            if nested:
                raise ValueError(f"{', '.join(nested)}: a parameter is one word or one number")
        return value

    @property
    def settings(self) -> dict[str, str]:
        """The parameters as text, as they would stand on the command line."""
        return {
            key: str(value).lower() if isinstance(value, bool) else str(value)
            for key, value in self.set.items()
        }


class Network(Section):
    """What the compiler of the plan may be told; what is left out it derives or defaults."""

    mtu: int | None = Field(default=None, ge=576, le=65535)
    """Largest IP packet, in bytes."""

    gso_max: SizeBytes | None = None
    """Largest burst of segments that a device takes as one packet."""

    burst: SizeBytes | None = None
    """How much a link may send at once after it was idle."""

    queue_packets: int | None = Field(default=None, ge=1)
    """Depth of each leaf's queue."""

    leaves: int | None = Field(default=None, ge=1)
    """Senders told apart at a port, at most."""

    rto_min: DurationS | None = None
    """Shortest TCP retransmission timeout; above the longest legitimate wait."""

    congestion_control: str | None = Field(default=None, pattern=r"^[a-z0-9_-]{1,15}$")
    """Of TCP: reno, or what else this kernel lets a namespace have."""

    @field_validator("mtu", "queue_packets", "leaves", "rto_min")
    @classmethod
    def _possible(cls, value: float | None, info: ValidationInfo) -> float | None:
        """Refused here, where the line is known, and not when the plan is made."""
        assert info.field_name is not None
        _plan_settings({info.field_name: value})
        return value

    @model_validator(mode="after")
    def _possible_together(self) -> Network:
        _plan_settings(dict(self))
        return self

    def plan_settings(self, arbitration: Literal["fair", "fifo"]) -> PlanSettings:
        """What the compiler of the plan is told."""
        return _plan_settings({**dict(self), "arbitration": arbitration})


def _plan_settings(given: Mapping[str, Any]) -> PlanSettings:
    """Settings from the keys of a `network` section; those that are None are left out."""
    names = {"gso_max": "gso_max_bytes", "burst": "burst_bytes", "rto_min": "rto_min_ms"}
    chosen = {names.get(key, key): value for key, value in given.items() if value is not None}
    if "rto_min_ms" in chosen:
        chosen["rto_min_ms"] = round(chosen["rto_min_ms"] * 1000)
    try:
        return PlanSettings(**chosen)
    except UsageError as error:
        raise ValueError(f"{error.message}; {error.hint}") from None


class Scenario(Section):
    """What every run has, whatever its workload."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=60)
    """Names the run and its directory: lower-case letters, digits, `.`, `_` and `-`."""

    description: str = ""
    """What the run shows, in one line."""

    plugin: str = "dualpath"
    """The workload that runs on the cluster: an entry point of the group testbed.workloads."""

    topology: TopologyChoice
    """The cluster."""

    scale: Annotated[Scale, WrapValidator(_scale), WithJsonSchema(_SCALE_SCHEMA)] = Scale()
    """Real / emulated: `rate` and `bytes`; times stretch by rate/bytes.  auto: the largest cluster
    that this machine carries, at a stretch of 2."""

    duration: DurationS = Field(gt=0)
    """Length of the steady window, after warm-up, in emulated time."""

    seed: int = Field(default=1, ge=0)
    """Everything random in the run follows from it."""

    arbitration: Literal["fair", "fifo"] = "fair"
    """Among the senders of one lane: a queue each, or one for all."""

    network: Network = Network()
    """Parameters of links and queues."""

    calibration: bool = True
    """Before the load, show that each class of link reaches its rate (3 s at most), and what a
    request costs on the idle cluster; false leaves that out of the verdict."""


AnyScenario = TypeVar("AnyScenario", bound=Scenario)


def load_scenario(
    source: Path | str | Source | Document,
    model: type[AnyScenario],
    *,
    overrides: Mapping[str, str] | None = None,
) -> AnyScenario:
    """Read a scenario and check all of it.

    Args:
        source: a file, YAML text, or what `find_scenario` or `parse` returned.
        model: `Scenario`, or a workload's subclass of it.
        overrides: dotted key paths and YAML values that replace what the file says.

    Raises:
        NotFoundError: there is no such file.
        ScenarioError: what is wrong with it: every error, each with its place and key path.
    """
    document = source if isinstance(source, Document) else parse(_source(source))
    if overrides:
        document = with_overrides(document, overrides)
    try:
        return model.model_validate(document.content, context=FROM_FILE)
    except ValidationError as error:
        problems = describe(error, document, model)
    raise ScenarioError(
        "\n  ".join([f"{document.source.label} has {_count(len(problems), 'error')}:", *problems]),
        hint="`testbed scenarios --schema` prints what a scenario may hold",
    )


def json_schema(model: type[Scenario]) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a scenario file, for editors and other programs."""
    return {"$schema": _SCHEMA_DIALECT, **model.model_json_schema(mode="validation")}


def _source(source: Path | str | Source) -> Source:
    if isinstance(source, Path):
        return read_source(source)
    return source if isinstance(source, Source) else Source("the scenario", source)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
