"""What differs between a plan that was asked for and one that was found: every object, by name."""

from __future__ import annotations

from typing import Literal, NamedTuple

from testbed.plan.model import KEYS, AnyElement, Plan, key, objects


class Difference(NamedTuple):
    """One difference.

    Args:
        kind: an object is missing, is there but was not asked for, or has another value.
        name: of the object, as `testbed.plan.model.key` gives it.
        field: of a changed object.
        asked, found: the values.
    """

    kind: Literal["missing", "extra", "changed"]
    name: tuple[object, ...]
    field: str = ""
    asked: object = None
    found: object = None

    def describe(self) -> str:
        """One line for people."""
        tag, *rest = self.name
        named = " ".join(map(str, rest))
        if self.kind == "missing":
            return f"{tag} {named}: asked for, but not there"
        if self.kind == "extra":
            return f"{tag} {named}: there, but not asked for ({self.found})"
        return f"{tag} {named}: {self.field} is {self.found!r}, asked for was {self.asked!r}"


def differences(asked: Plan, found: Plan) -> list[Difference]:
    """Every object that is missing, extra or different; empty when the kernel is as asked."""
    if asked.elements == found.elements:
        return []
    only_asked = frozenset(objects(asked.elements - found.elements))
    only_found = frozenset(objects(found.elements - asked.elements))
    wanted = {key(e): e for e in only_asked - only_found}
    there: dict[tuple[object, ...], AnyElement] = {}
    result = []
    for element in only_found - only_asked:
        name = key(element)
        if name in there:
            result.append(Difference("extra", name, found=element))
        there[name] = element
    for name, element in wanted.items():
        if name not in there:
            result.append(Difference("missing", name, asked=element))
            continue
        other = there[name]
        named = KEYS[type(element)]
        result += [
            Difference("changed", name, field, getattr(element, field), getattr(other, field))
            for field in element.__struct_fields__
            if field not in named and getattr(element, field) != getattr(other, field)
        ]
    result += [
        Difference("extra", name, found=element)
        for name, element in there.items()
        if name not in wanted
    ]
    return sorted(result, key=lambda difference: tuple(map(str, difference.name)))
