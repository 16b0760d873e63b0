"""What several verbs' command lines have in common."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from testbed.errors import UsageError

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
name_argument = click.argument("name", metavar="[NAME]", required=False)

set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Replace a value of the scenario; KEY is dotted, e.g. topology.set.gpus=4.",
)

runs_option = click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs"),
    show_default=True,
    help="Directory that run directories are looked for in.",
)

scale_option = click.option(
    "--scale",
    metavar="auto|RATE,BYTES",
    help="Real / emulated; auto: the largest cluster that this machine carries.",
)


def scaled(overrides: dict[str, str], scale: str | None) -> dict[str, str]:
    """The overrides with that of `--scale`.

    Raises:
        UsageError: it is neither `auto` nor two factors, or the scale is set twice.
    """
    if scale is None:
        return overrides
    if any(key == "scale" or key.startswith("scale.") for key in overrides):
        raise UsageError("--scale and --set scale are both given", hint="leave one of them out")
    if scale == "auto":
        return {**overrides, "scale": scale}
    rate, comma, size = scale.partition(",")
    if not (comma and rate and size):
        raise UsageError(f"a --scale of {scale!r}", hint="e.g. --scale auto, or --scale 2000,1000")
    return {**overrides, "scale.rate": rate, "scale.bytes": size}


def pairs(texts: Iterable[str]) -> dict[str, str]:
    """`KEY=VALUE` arguments as a dict.

    Raises:
        UsageError: one has no key or no `=`, or a key is there twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (equals and key):
            raise UsageError(f"{text!r} is not KEY=VALUE", hint="e.g. --set gpus=4")
        if key in found:
            raise UsageError(f"--set {key} is given twice", hint="leave one of them out")
        found[key] = value
    return found


def place(words: Iterable[str]) -> tuple[str | None, str]:
    """`[NAME] NODE`: which testbed (None: the only one) and which node.

    Raises:
        UsageError: there are none, or more than two.
    """
    match list(words):
        case [node]:
            return None, node
        case [name, node]:
            return name, node
        case other:
            raise UsageError(
                f"[NAME] NODE are asked for, not {' '.join(other) or 'nothing'!r}",
                hint="NAME is a testbed of `testbed ls`, NODE one of its nodes",
            )
