"""`testbed doctor`: what the kernel and the machine can do, and what to do about the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from testbed.cli import output
from testbed.cli.arguments import json_option
from testbed.errors import UnsupportedError

if TYPE_CHECKING:
    from testbed.kernel.features import Feature


@click.command("doctor")
@json_option
def command(as_json: bool) -> None:
    """Check the kernel and the machine: what is there, what it is for, what to do if missing."""
    with output.failures(as_json):
        import msgspec

        from testbed.kernel.features import features
        from testbed.kernel.machine import machine

        found, here = features(), machine()
        lines = [here.describe()]
        width = max(len(one.name) for one in found)
        missing = [one for one in found if one.required and not one.present]
        causes = [one for one in missing if one.tried] or missing
        for one in found:
            state, colour = _state(one)
            mark = output.emphasis(f"{state:9}", fg=colour)
            lines.append(f"{mark}  {one.name:{width}}  {one.needed_for}")
            if one in causes:
                lines.append(f"{'':9}  {'':{width}}  {one.detail}")
            if one.remedy:
                lines.append(f"{'':9}  {'':{width}}  to do: {one.remedy}")
        if not as_json and not missing:
            lines.append("everything that is required is there; the rest is optional")
        output.result(
            {
                "ok": not missing,
                "machine": msgspec.structs.asdict(here),
                "features": [msgspec.structs.asdict(one) for one in found],
            },
            lines,
            as_json=as_json,
        )
        if missing and not as_json:
            behind = len(missing) - len(causes)
            raise UnsupportedError(
                f"this machine lacks {', '.join(one.name for one in causes)}"
                + (f"; {behind} more that is required could not be tried" if behind else ""),
                hint="see `to do` above",
            )
    if missing:
        raise SystemExit(UnsupportedError.exit_status)


def _state(one: Feature) -> tuple[str, str]:
    """In a word, and its colour."""
    if one.present:
        return "ok", "green"
    if not one.tried:
        return "not tried", "yellow"
    return ("MISSING", "red") if one.required else ("optional", "yellow")
