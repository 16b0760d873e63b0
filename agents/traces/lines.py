"""JSON-lines files, plain or gzip, checked line by line."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from testbed.errors import ScenarioError

_GZIP_MAGIC = b"\x1f\x8b"

Record = TypeVar("Record")


def read_lines(path: Path, kind: type[Record]) -> Iterator[tuple[str, Record]]:
    """The records of a file, each with its place ("trace.jsonl:7") for messages.

    Args:
        path: JSON lines; gzip is told by its first bytes, not by the name.
        kind: a msgspec struct that says what a line holds; unknown keys are passed over.

    Raises:
        ScenarioError: the file cannot be read, holds nothing, or a line is not such a record.
    """
    decoder = msgspec.json.Decoder(kind)
    found = False
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == _GZIP_MAGIC
        with gzip.open(path) if zipped else path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                place = f"{path}:{number}"
                try:
                    record = decoder.decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    raise ScenarioError(f"{place}: {error}", hint=_FORMATS) from None
                found = True
                yield place, record
    except (OSError, EOFError) as error:
        # A damaged gzip file shows as BadGzipFile (an OSError) or, cut short, as EOFError.
        reason = getattr(error, "strerror", None) or str(error)
        raise ScenarioError(
            f"the trace {path} cannot be read: {reason}", hint="give the path of a trace file"
        ) from None
    if not found:
        raise ScenarioError(f"the trace {path} is empty", hint=_FORMATS)


_FORMATS = "one JSON object a line: see mooncake, sessions_compact and weka in agents.traces"
