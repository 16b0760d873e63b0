"""A YAML file as plain data that still knows on which line each value stands.

YAML 1.2: `on` and `no` are words, not truth values.  Data only: tags, dates and keys that are
not words are refused rather than guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from testbed.errors import NotFoundError, ScenarioError

KeyPath: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True)
class Source:
    """The text of a scenario and what messages call it.

    Args:
        label: a path, or a few words where there is no file.
        text: YAML.
    """

    label: str
    text: str


@dataclass(frozen=True)
class Document:
    """A YAML mapping as plain dicts, lists and scalars.

    Args:
        source: what it was read from.
        content: the data.
        places: where a key path was set, e.g. "demo.yaml:12".
    """

    source: Source
    content: dict[str, object]
    places: Mapping[KeyPath, str] = field(default_factory=dict)

    def place(self, path: KeyPath) -> str:
        """Where `path` was set, or the nearest thing around it that was."""
        for length in range(len(path), 0, -1):
            if place := self.places.get(path[:length]):
                return place
        return self.source.label


def read_source(path: Path) -> Source:
    """The text of a scenario file.

    Raises:
        NotFoundError: there is no such file.
        ScenarioError: it cannot be read as text.
    """
    try:
        return Source(str(path), path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFoundError(
            f"there is no scenario file {path}",
            hint="`testbed scenarios` lists those that come with the testbed",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ScenarioError(
            f"the scenario file {path} cannot be read: {reason}",
            hint="give a YAML file, or a name from `testbed scenarios`",
        ) from None


def parse(source: Source) -> Document:
    """Read YAML text.

    Raises:
        ScenarioError: the text is not YAML, or not one mapping; with its line.
    """
    try:
        node = YAML(typ="safe", pure=True).compose(source.text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{source.label}:{mark.line + 1}" if mark else source.label
        problem = " ".join(str(error.problem or error.context or "it is not YAML").split())
        raise ScenarioError(f"{where}: {problem}", hint=_YAML_HINT) from None
    except (YAMLError, ValueError) as error:
        problem = " ".join(str(error).split())
        raise ScenarioError(f"{source.label}: {problem}", hint=_YAML_HINT) from None
    if not isinstance(node, MappingNode):
        what = "is empty" if node is None else "does not hold `key: value` lines"
        raise ScenarioError(
            f"{source.label} {what}",
            hint="`testbed scenarios --schema` prints what a scenario may hold",
        )
    reader = _Reader(source)
    content = reader.mapping(node, ())
    return Document(source, content, reader.places)


def with_overrides(document: Document, overrides: Mapping[str, str]) -> Document:
    """The document with values replaced, as by `--set topology.set.gpus=4`.

    Args:
        document: stays as it is.
        overrides: dotted key paths to YAML values.

    Raises:
        ScenarioError: a key path leads through something that is not a section.
    """
    content = _copied(document.content)
    places = dict(document.places)
    for dotted, text in overrides.items():
        label = f"--set {dotted}"
        path = tuple(dotted.split("."))
        section = content
        for depth, key in enumerate(path[:-1], start=1):
            inner = section.setdefault(key, {})
            if not isinstance(inner, dict):
                outer = ".".join(path[:depth])
                raise ScenarioError(
                    f"{label}: {outer} is a value, not a section that has keys",
                    hint=f"set {outer} itself",
                )
            section = inner
        # A value is read by the same rules as in the file: 4 is a number, fair a word.
        value = parse(Source(label, f"value: {text}\n"))
        section[path[-1]] = value.content["value"]
        places = {known: place for known, place in places.items() if known[: len(path)] != path}
        places[path] = label
    return Document(document.source, content, places)


_YAML_HINT = "the file must be YAML 1.2: `key: value` lines, indented by spaces"


def _copied(section: dict[str, object]) -> dict[str, object]:
    return {
        key: _copied(value) if isinstance(value, dict) else value for key, value in section.items()
    }


# What a plain scalar can be, by the tag that YAML 1.2's rules gave it.
_SCALARS: dict[str, Callable[[str], object]] = {
    "tag:yaml.org,2002:str": str,
    "tag:yaml.org,2002:null": lambda _: None,
    "tag:yaml.org,2002:bool": lambda text: text.lower() == "true",
    "tag:yaml.org,2002:int": lambda text: int(text, 0 if text.startswith(("0x", "0o")) else 10),
    "tag:yaml.org,2002:float": lambda text: float(re.sub(r"\.(?=[inIN])", "", text)),
}


class _Reader:
    """Turns the nodes of a YAML text into plain data, and notes where each was."""

    def __init__(self, source: Source) -> None:
        self.places: dict[KeyPath, str] = {}
        self._source = source
        self._around: list[Node] = []  # what is being read: an alias may point back at it

    def mapping(self, node: MappingNode, path: KeyPath) -> dict[str, object]:
        content: dict[str, object] = {}
        self._enter(node)
        for key_node, value_node in node.value:
            key = self._value(key_node, path)
            if not isinstance(key, str):
                raise self._refusal(key_node, f"the key {key!r} is not a word; put it in quotes")
            if key in content:
                raise self._refusal(key_node, f"the key {key!r} is there twice")
            self.places[(*path, key)] = self._place(key_node)
            content[key] = self._value(value_node, (*path, key))
        self._around.pop()
        return content

    def _sequence(self, node: SequenceNode, path: KeyPath) -> list[object]:
        content = []
        self._enter(node)
        for index, value_node in enumerate(node.value):
            self.places[(*path, index)] = self._place(value_node)
            content.append(self._value(value_node, (*path, index)))
        self._around.pop()
        return content

    def _value(self, node: Node, path: KeyPath) -> object:
        if isinstance(node, MappingNode):
            return self.mapping(node, path)
        if isinstance(node, SequenceNode):
            return self._sequence(node, path)
        if isinstance(node, ScalarNode) and (read := _SCALARS.get(str(node.tag))):
            return read(node.value)
        raise self._refusal(
            node, f"{node.value} is neither a word nor a number here; put it in quotes"
        )

    def _enter(self, node: Node) -> None:
        if any(node is outer for outer in self._around):
            raise self._refusal(node, "the value contains itself")
        self._around.append(node)

    def _place(self, node: Node) -> str:
        return f"{self._source.label}:{node.start_mark.line + 1}"

    def _refusal(self, node: Node, problem: str) -> ScenarioError:
        return ScenarioError(f"{self._place(node)}: {problem}", hint=_YAML_HINT)
