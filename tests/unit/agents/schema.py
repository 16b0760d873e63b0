"""What a JSON schema (draft 2020-12) says of a document; only keywords that scenarios' schema has.

A keyword that is not known here is an error: nothing is passed over in silence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_ABOUT = {"$schema", "$defs", "title", "description", "default", "examples"}
_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def problems(schema: Mapping[str, Any], value: object) -> list[str]:
    """What is wrong with a document: a line for each problem, by its place."""
    return list(_problems(schema, schema, value, ""))


def _problems(root: Mapping[str, Any], schema: Any, value: Any, at: str) -> Iterator[str]:
    if isinstance(schema, bool):
        if not schema:
            yield f"{at}: nothing may be here"
        return
    for keyword, said in schema.items():
        if keyword in _ABOUT:
            continue
        if keyword == "$ref":
            name = said.removeprefix("#/$defs/")
            yield from _problems(root, root["$defs"][name], value, at)
        elif keyword == "anyOf":
            found = [list(_problems(root, each, value, at)) for each in said]
            if all(found):
                yield f"{at}: {value!r} is none of: {found}"
        elif keyword in ("properties", "additionalProperties", "required"):
            if isinstance(value, dict):
                yield from _of_object(root, keyword, schema, value, at)
        elif keyword in ("items", "prefixItems"):
            if isinstance(value, list):
                yield from _of_array(root, keyword, schema, value, at)
        elif not _ASSERTIONS[keyword](value, said):
            yield f"{at}: {value!r}: {keyword} {said!r}"


def _of_object(
    root: Mapping[str, Any], keyword: str, schema: Mapping[str, Any], value: dict[str, Any], at: str
) -> Iterator[str]:
    said, known = schema[keyword], schema.get("properties", {})
    if keyword == "required":
        yield from (f"{at}: {key} is missing" for key in said if key not in value)
        return
    for key, inner in value.items():
        if (key in known) == (keyword == "properties"):
            rule = said[key] if keyword == "properties" else said
            yield from _problems(root, rule, inner, f"{at}.{key}")


def _of_array(
    root: Mapping[str, Any], keyword: str, schema: Mapping[str, Any], value: list[Any], at: str
) -> Iterator[str]:
    said, first = schema[keyword], len(schema.get("prefixItems", []))
    for index, inner in enumerate(value):
        if (index < first) == (keyword == "prefixItems"):
            rule = said[index] if keyword == "prefixItems" else said
            yield from _problems(root, rule, inner, f"{at}[{index}]")


def _is(value: object, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    # To JSON, 3.0 is an integer, too.
    whole = kind == "integer" and isinstance(value, float) and value.is_integer()
    return whole or isinstance(value, _TYPES[kind])


def _number(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    """A rule for numbers; what is none is not its business."""
    return lambda value, bound: not _is(value, "number") or compare(value, bound)


def _sized(kind: type, compare: Callable[[int, int], bool]) -> Callable[[Any, Any], bool]:
    return lambda value, bound: not isinstance(value, kind) or compare(len(value), bound)


_ASSERTIONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "type": _is,
    "enum": lambda value, choices: value in choices,
    "const": lambda value, only: value == only,
    "minimum": _number(lambda value, bound: value >= bound),
    "maximum": _number(lambda value, bound: value <= bound),
    "exclusiveMinimum": _number(lambda value, bound: value > bound),
    "exclusiveMaximum": _number(lambda value, bound: value < bound),
    "multipleOf": _number(lambda value, step: value % step == 0),
    "minLength": _sized(str, lambda length, bound: length >= bound),
    "maxLength": _sized(str, lambda length, bound: length <= bound),
    "minItems": _sized(list, lambda length, bound: length >= bound),
    "maxItems": _sized(list, lambda length, bound: length <= bound),
    "pattern": lambda value, text: not isinstance(value, str) or bool(re.search(text, value)),
}
