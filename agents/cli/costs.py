"""`testbed costs`: what the agents' work costs this machine, which predictions are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from testbed.cli import output
from testbed.cli.arguments import json_option

if TYPE_CHECKING:
    from agents.costing.costs import HopCost, MachineCosts
    from agents.costing.kept import Known

_EPILOG = """\b
Examples:
  testbed costs
  testbed costs --measure
"""


@click.command("costs", epilog=_EPILOG)
@click.option("--measure", is_flag=True, help="Measure them now, on an idle machine: some 30 s.")
@json_option
def command(measure: bool, as_json: bool) -> None:
    """Show what the agents' work costs this machine: CPU seconds a GiB and hop, and the like.

    The first run measures it once; it is kept under XDG_CACHE_HOME for this kernel, processor and
    version.
    """
    with output.failures(as_json):
        import msgspec

        from agents.costing import kept

        if measure:
            kept.measure_now(output.note)
        found = kept.known()
        shown = {
            "costs": msgspec.to_builtins(found.costs),
            **found.figures(),
            "directory": str(kept.directory()),
        }
        output.result(shown, _lines(found, str(kept.directory())), as_json=as_json)


def _lines(found: Known, directory: str) -> list[str]:
    from testbed.columns import columns

    return [
        *columns(_rows(found.costs)),
        "",
        _origin(found),
        f"kept in {directory}",
    ]


def _rows(costs: MachineCosts) -> list[tuple[str, str]]:
    from testbed.units import show_duration, show_size

    return [
        *((f"SNIC, {_link(hop)}", _cost(hop)) for hop in costs.snic),
        *((f"CNIC, {_link(hop)}", _cost(hop)) for hop in costs.cnic),
        ("KV made or checked", f"{costs.check_s_per_gib:.2f} CPU-s/GiB"),
        ("message or transfer", show_duration(costs.operation_s)),
        ("timer", show_duration(costs.timer_s)),
        ("counters of a shaper", show_duration(costs.counter_s)),
        ("token of the transformer", show_duration(costs.token_s)),
        ("modules of programs, imported", show_duration(costs.load_s)),
        ("modules of programs, memory", show_size(costs.load_bytes)),
        ("program, until ready", show_duration(costs.program_s)),
        ("program, memory", show_size(costs.program_bytes)),
    ]


def _link(hop: HopCost) -> str:
    from testbed.units import show_rate, show_size

    return f"{show_rate(hop.rate_bps)}/s, packets up to {show_size(hop.packet_bytes)}"


def _cost(hop: HopCost) -> str:
    return f"{hop.s_per_gib:.2f} CPU-s/GiB, of them {hop.programs_s_per_gib:.2f} of programs"


def _origin(found: Known) -> str:
    if found.kept is None:
        return f"of a reference machine, not this one: {found.why}"
    hours = (found.age_s or 0.0) / 3600
    age = f"{hours / 24:.1f} days" if hours >= 48 else f"{hours:.1f} hours"
    when = (
        f"measured {age} ago on this machine, with {found.kept.other_cores:.2f} cores busy with "
        f"something else, disturbed by {found.kept.spread:.0%}"
    )
    if found.of_this_machine:
        return when
    return f"of a reference machine, not this one: {found.why} ({when})"
