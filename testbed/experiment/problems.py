"""What pydantic found wrong with a scenario, in words that its author can act on."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import is_dataclass
from typing import Annotated, Literal, TypeGuard, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from testbed.experiment.document import Document, KeyPath
from testbed.suggestions import suggestion


def describe(error: ValidationError, document: Document, model: type[BaseModel]) -> list[str]:
    """One line for each error: its place in the file, its key path, what is wrong.

    Args:
        error: from validating `document.content` as `model`.
        document: knows the lines.
        model: knows the keys that there are.
    """
    found: dict[KeyPath, list[str]] = {}  # a union reports one mistake once per member
    for details in error.errors(include_url=False):
        path = _path_in(document.content, details["loc"])
        problem = _problem(details, path, model)
        if problem not in found.setdefault(path, []):
            found[path].append(problem)
    return [
        f"{document.place(path)}: {'.'.join(map(str, path)) or 'the scenario'}: "
        + "; or ".join(found[path])
        for path in sorted(found, key=lambda path: _order(document.place(path)))
    ]


def _order(place: str) -> tuple[str, int]:
    label, _, line = place.rpartition(":")
    return (label, int(line)) if line.isdigit() else (place, 0)


def _path_in(content: object, location: Sequence[str | int]) -> KeyPath:
    """The key path that an error location means.

    pydantic puts the members of unions and the names of validators into locations; a file has
    no such keys.
    """
    path: list[str | int] = []
    for index, part in enumerate(location):
        if _holds(content, part):
            content = content[part]  # type: ignore[index]
        elif not (isinstance(content, dict) and index == len(location) - 1):
            continue  # not a key; the last part of a section's location is one that is missing
        path.append(part)
    return tuple(path)


def _holds(content: object, part: str | int) -> bool:
    if isinstance(content, dict):
        return part in content
    return isinstance(content, list) and isinstance(part, int) and part < len(content)


def _problem(details: ErrorDetails, path: KeyPath, model: type[BaseModel]) -> str:
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        if elsewhere := sorted(_elsewhere(model, str(path[-1]))):
            return f"unknown key; did you mean {' or '.join(elsewhere)}?"
        return f"unknown key{_near(str(path[-1]), _keys(model, path[:-1]))}"
    if kind in ("missing", "missing_argument"):
        return "this key is required"
    if kind in ("value_error", "assertion_error"):
        return str(context.get("error", details["msg"]))
    if kind in ("model_type", "model_attributes_type", "dataclass_type", "dict_type"):
        keys = ", ".join(_keys(model, path))
        return f"{value!r} is a value; this is a section with keys of its own: {keys}"
    if kind == "list_type" and not isinstance(value, dict):
        return f"{value!r} is one value; a list is asked for: [{value}]"
    message = details["msg"][:1].lower() + details["msg"][1:]
    if kind in ("literal_error", "enum", "union_tag_invalid") and isinstance(value, str):
        known = sorted(str(choice) for hint in _hints(model, path) for choice in _literals(hint))
        return f"{message}, not {value!r}{_near(str(value), known)}"
    return f"{message}, not {value!r}"


def _near(word: str, known: Sequence[str]) -> str:
    return f"; {suggestion(word, known)}" if known else ""


# --- which keys there are at a path ------------------------------------------------------------


def _fields(section: type) -> dict[str, object]:
    """The keys of a section, and the type of each."""
    if issubclass(section, BaseModel):
        return {info.alias or name: info.annotation for name, info in section.model_fields.items()}
    return dict(get_type_hints(section))


def _keys(model: type, path: KeyPath) -> list[str]:
    """The keys of the section at `path`, of all that it may be."""
    return sorted({name for section in _sections(model, path) for name in _fields(section)})


def _elsewhere(model: type, key: str, above: str = "") -> set[str]:
    """The dotted paths of a key in other sections."""
    found = set()
    for name, hint in _fields(model).items():
        for section in filter(_is_section, _members(hint)):
            if key in _fields(section):
                found.add(f"{above}{name}.{key}")
            found |= _elsewhere(section, key, f"{above}{name}.")
    return found


def _sections(model: type, path: KeyPath) -> Iterator[type]:
    """The models or dataclasses that may stand at `path`; several where there is a union."""
    for hint in _hints(model, path):
        for member in _members(hint):
            if _is_section(member):
                yield member


def _hints(hint: object, path: KeyPath) -> Iterator[object]:
    """The types that may stand at `path` below one of type `hint`."""
    if not path:
        yield hint
        return
    part, rest = path[0], path[1:]
    for member in _members(hint):
        origin = get_origin(member)
        if _is_section(member):
            if str(part) in (known := _fields(member)):
                yield from _hints(known[str(part)], rest)
        elif isinstance(origin, type) and issubclass(origin, Mapping):
            yield from _hints(get_args(member)[1], rest)
        elif isinstance(origin, type) and issubclass(origin, Sequence | Set):
            yield from _hints(get_args(member)[0], rest)


def _members(hint: object) -> Iterator[object]:
    """The alternatives of a type: itself, or the members of a union."""
    origin = get_origin(hint)
    if origin is Annotated:
        yield from _members(get_args(hint)[0])
    elif origin in (Union, types.UnionType):
        for member in get_args(hint):
            yield from _members(member)
    else:
        yield hint


def _literals(hint: object) -> Iterator[object]:
    for member in _members(hint):
        if get_origin(member) is Literal:
            yield from get_args(member)


def _is_section(hint: object) -> TypeGuard[type]:
    return isinstance(hint, type) and (issubclass(hint, BaseModel) or is_dataclass(hint))
