"""Topologies by name: those that come along, presets of them, and files of the user's.

    build("dualpath", {"gpus": "4"})    build("2p4d", {})    build("mine.py:ring", {"k": "5"})

A user's file is what `mn --custom` takes: it exports `topos`, a dict of classes or functions that
make a `Topo`.
"""

import importlib.util
import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mininet.topo import Topo

from topologies import dualpath, linear, single, tree

Value = str | int | float | bool
_SHIPPED: dict[str, Callable[..., Topo]] = {
    **dualpath.topos, **single.topos, **linear.topos, **tree.topos,
}  # fmt: skip
_PRESETS: dict[str, tuple[str, dict[str, Value]]] = {
    f"{prefill}p{decode}d": (
        "dualpath",
        {"prefill": prefill, "decode": decode, "gpus": 8, "s": 1.0},
    )
    for prefill, decode in ((1, 1), (2, 1), (1, 2), (2, 4))
}
_FILE = re.compile(r"(?P<path>.+\.py)(?::(?P<name>[^:/]+))?")
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


class UnknownTopologyError(ValueError):
    """There is no topology of that name; `known` lists those that there are."""

    def __init__(self, name: str, known: list[str]) -> None:
        super().__init__(f"there is no topology {name!r}")
        self.name = name
        self.known = known


class UnknownSettingError(ValueError):
    """The topology has no such parameter; `known` lists those that it has."""

    def __init__(self, topology: str, key: str, known: list[str]) -> None:
        super().__init__(f"topology {topology} has no parameter {key!r}")
        self.topology = topology
        self.key = key
        self.known = known


class SettingTypeError(ValueError):
    """A value is not of its parameter's type."""


class BadSettingError(ValueError):
    """The topology refuses its values."""


class NoTopologyFileError(ValueError):
    """There is no such file."""


class TopologyFileError(ValueError):
    """A user's file cannot be loaded, or does not export what was asked for."""


class Parameter(NamedTuple):
    """A parameter of a topology; `required` if it has no default."""

    kind: str
    default: Value | None
    required: bool = False


class Description(NamedTuple):
    """A topology for a listing; `preset_of` names the one that a preset is made of."""

    name: str
    summary: str
    parameters: dict[str, Parameter]
    preset_of: str | None = None


class Choice(NamedTuple):
    """A topology that was chosen: what makes it, and the values of all its parameters."""

    name: str
    make: Callable[..., Topo]
    values: dict[str, Value | None]

    def build(self) -> Topo:
        """Make it.

        Raises:
            BadSettingError: the topology refuses its values.
            TopologyFileError: a user's file fails, or makes something else.
        """
        try:
            topo = self.make(**self.values)
        except ValueError as error:
            raise BadSettingError(f"topology {self.name}: {error}") from error
        except (Exception, SystemExit) as error:  # whatever a user's file may do
            if self.name in (*_SHIPPED, *_PRESETS):
                raise
            raise TopologyFileError(
                f"{self.name} failed to build: {type(error).__name__}: {error}"
                f"{_where(error, self.name)}"
            ) from error
        if not isinstance(topo, Topo):
            raise TopologyFileError(
                f"{self.name} made a {type(topo).__name__}, not a mininet.topo.Topo"
            )
        return topo


def names() -> list[str]:
    """All topologies that come along, presets first."""
    return [*_PRESETS, *_SHIPPED]


def describe() -> list[Description]:
    """All topologies that come along, with their parameters and defaults, presets first."""
    found = []
    for name, (base, fixed) in _PRESETS.items():
        summary = ", ".join(f"{key}={value:g}" for key, value in fixed.items())
        found.append(Description(name, summary, _parameters(_SHIPPED[base], fixed), base))
    for name, make in _SHIPPED.items():
        summary = (inspect.getdoc(make) or "").partition("\n")[0]
        found.append(Description(name, summary, _parameters(make, {})))
    return found


def choose(name: str, settings: Mapping[str, str]) -> Choice:
    """A topology by its name, with a value for each of its parameters.

    Args:
        name: of one that comes along, or `path.py` or `path.py:name` for a file's.
        settings: parameter -> value as text, read by the parameter's type.

    Raises:
        ValueError: one of this module's own, which say what is wrong.
    """
    make, fixed = _find(name)
    known = _parameters(make, fixed)
    values = {key: one.default for key, one in known.items() if not one.required}
    for key, text in settings.items():
        if key not in known:
            raise UnknownSettingError(name, key, list(known))
        values[key] = _read(name, key, text, known[key])
    if missing := [key for key in known if key not in values]:
        raise BadSettingError(f"topology {name} needs a value for {', '.join(missing)}")
    return Choice(name, make, values)


def build(name: str, settings: Mapping[str, str]) -> Topo:
    """`choose` and `Choice.build`; raises what they do."""
    return choose(name, settings).build()


def _find(name: str) -> tuple[Callable[..., Topo], dict[str, Value]]:
    """What makes a topology, and the values that a preset fixes."""
    if name in _PRESETS:
        base, fixed = _PRESETS[name]
        return _SHIPPED[base], fixed
    if name in _SHIPPED:
        return _SHIPPED[name], {}
    if match := _FILE.fullmatch(name):
        return _from_file(Path(match["path"]), match["name"]), {}
    raise UnknownTopologyError(name, names())


# --- files -----------------------------------------------------------------------------------


def _from_file(path: Path, name: str | None) -> Callable[..., Topo]:
    if not path.is_file():
        raise NoTopologyFileError(f"there is no file {path}")
    spec = importlib.util.spec_from_file_location(f"custom_topology_{path.stem}", path)
    assert spec is not None and spec.loader is not None  # the suffix is .py
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise TopologyFileError(
            f"{path} cannot be loaded: {type(error).__name__}: {error}{_where(error, str(path))}"
        ) from error
    topos = getattr(module, "topos", None)
    if not isinstance(topos, dict) or not topos:
        raise TopologyFileError(
            f"{path} exports no topology: it needs a line like topos = {{'mine': MyTopo}}"
        )
    if name is None:
        if len(topos) > 1:
            raise TopologyFileError(
                f"{path} exports {', '.join(topos)}: say which, as {path}:{next(iter(topos))}"
            )
        (name,) = topos
    if name not in topos:
        raise TopologyFileError(f"{path} exports no {name!r}, only {', '.join(topos)}")
    make = topos[name]
    if not callable(make):
        raise TopologyFileError(f"{path}: topos[{name!r}] is neither a class nor a function")
    return typing.cast("Callable[..., Topo]", make)


def _where(error: BaseException, name: str) -> str:
    """The line of the user's file that an exception came through, innermost first."""
    path = Path(name.partition(".py")[0] + ".py").resolve()
    trace, line = error.__traceback__, None
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename).resolve() == path:
            line = trace.tb_lineno
        trace = trace.tb_next
    return f" (line {line})" if line is not None else ""


# --- parameters ------------------------------------------------------------------------------


def _parameters(make: Callable[..., Topo], fixed: Mapping[str, Value]) -> dict[str, Parameter]:
    """The named parameters of a class's `build` (or its own `__init__`), or of a function."""
    function: Any = make
    if inspect.isclass(make):
        cls: Any = make
        function = cls.build if cls.__init__ is Topo.__init__ else cls.__init__
    try:
        signature = inspect.signature(function, eval_str=True)
    except (NameError, TypeError):
        signature = inspect.signature(function)  # annotations that nobody can evaluate
    found = {}
    for one in signature.parameters.values():
        # *args and **opts are Mininet's way to pass things on; nothing can be checked of them.
        if one.name == "self" or one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD):
            continue
        required = one.default is one.empty
        default = fixed.get(one.name, None if required else one.default)
        found[one.name] = Parameter(
            _kind(one.annotation, default), default, required and one.name not in fixed
        )
    return found


def _kind(annotation: Any, default: Any) -> str:
    """The type of a parameter as text, e.g. "float | None"; "any" if nothing tells."""
    if annotation is inspect.Parameter.empty:
        # A whole number as the default does not say that a fraction makes no sense.
        guess = "any" if default is None else type(default).__name__
        return "int | float" if guess == "int" else guess
    if isinstance(annotation, type):
        return annotation.__name__
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return " | ".join(
            "None" if one is types.NoneType else getattr(one, "__name__", str(one))
            for one in typing.get_args(annotation)
        )
    return annotation if isinstance(annotation, str) else "any"


def _read(topology: str, key: str, text: str, parameter: Parameter) -> Value | None:
    kinds = [one.strip() for one in parameter.kind.split("|")]
    if "any" in kinds:
        kinds = ["int", "float", "str"]
    for kind in sorted(kinds, key=_order):
        value = _read_as(kind, text)
        if value is not None:
            return value
        if kind == "None" and text.lower() in ("none", "null", "~", ""):
            return None
    raise SettingTypeError(f"topology {topology}: {key}={text!r} is not of type {parameter.kind}")


def _order(kind: str) -> int:
    return {"None": 0, "bool": 1, "int": 2, "float": 3}.get(kind, 4)


def _read_as(kind: str, text: str) -> Value | None:
    """A value of that type, or None if the text is no such thing."""
    match kind:
        case "bool":
            if text.lower() in (*_TRUE, *_FALSE):
                return text.lower() in _TRUE
            return None
        case "int" | "float":
            try:
                return int(text) if kind == "int" else float(text)
            except ValueError:
                return None
        case "str":
            return text
        case _:
            return None
