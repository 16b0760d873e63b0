"""`testbed doctor`: what the kernel and the machine can do, and what to do about the rest."""

from __future__ import annotations

import click

from testbed.cli import output
from testbed.cli.arguments import json_option
from testbed.errors import UnsupportedError


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
        for one in found:
            state, colour = ("ok", "green") if one.present else ("missing", "yellow")
            if one.required and not one.present:
                state, colour = "MISSING", "red"
            mark = output.emphasis(f"{state:7}", fg=colour)
            lines.append(f"{mark}  {one.name:{width}}  {one.needed_for}")
            if one.detail:
                lines.append(f"{'':7}  {'':{width}}  {one.detail}")
            if not one.present and one.remedy:
                lines.append(f"{'':7}  {'':{width}}  to do: {one.remedy}")
        lacking = [one.name for one in found if one.required and not one.present]
        if not as_json and not lacking:
            lines.append("everything that is required is there")
        output.result(
            {
                "ok": not lacking,
                "machine": msgspec.structs.asdict(here),
                "features": [msgspec.structs.asdict(one) for one in found],
            },
            lines,
            as_json=as_json,
        )
        if lacking and not as_json:
            raise UnsupportedError(
                f"this machine lacks {', '.join(lacking)}", hint="see `to do` above"
            )
    if lacking:
        raise SystemExit(UnsupportedError.exit_status)
