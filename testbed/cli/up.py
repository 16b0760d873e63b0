"""`testbed up`: bring a topology up as a testbed that outlives the command."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING

import click

from testbed.cli import output
from testbed.cli.arguments import json_option, pairs

if TYPE_CHECKING:
    from testbed.plan.model import Plan
    from testbed.plan.settings import PlanSettings
    from testbed.plan.source import Source

_LONG_S = 2.0
_EPILOG = """\b
Examples:
  testbed up 1p1d
  testbed up dualpath --set prefill=2 --set gpus=4 --name two
  testbed up mine.py:ring --dry-run
"""


@click.command("up", epilog=_EPILOG)
@click.argument("topology")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="A parameter of the topology, see `testbed topologies`.",
)
@click.option("--name", help="Of the testbed; default the topology's.")
@click.option("--mtu", type=int, help="Largest IP packet, bytes.")
@click.option("--gso-max", metavar="SIZE", help="Aggregation limit of devices, e.g. 16KiB.")
@click.option("--burst", metavar="SIZE", help="What a link may send at once after it was idle.")
@click.option("--queue-packets", type=int, help="Depth of each queue.")
@click.option("--leaves", type=int, help="Senders told apart in a lane of a port, at most.")
@click.option("--arbitration", type=click.Choice(["fair", "fifo"]), help="Between senders.")
@click.option("--dry-run", is_flag=True, help="Only print the plan; needs no privileges.")
@json_option
def command(
    topology: str,
    settings: tuple[str, ...],
    name: str | None,
    mtu: int | None,
    gso_max: str | None,
    burst: str | None,
    queue_packets: int | None,
    leaves: int | None,
    arbitration: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Bring TOPOLOGY up: a shipped one, a preset, or a file (mine.py:name)."""
    with output.failures(as_json):
        from testbed.plan.source import load

        source = load(topology, pairs(settings))
        plan_settings = _plan_settings(
            mtu=mtu,
            gso_max_bytes=_size_bytes(gso_max),
            burst_bytes=_size_bytes(burst),
            queue_packets=queue_packets,
            leaves=leaves,
            arbitration=arbitration,
        )
        if dry_run:
            _print_plan(source.compile(plan_settings), as_json)
        else:
            _bring_up(name or _default_name(topology), source, plan_settings, as_json)


def _bring_up(name: str, source: Source, settings: PlanSettings, as_json: bool) -> None:
    from testbed.plan.model import counts
    from testbed.sandbox.launch import Launch

    began = time.monotonic()
    with Launch(name) as begun:  # it makes itself ready meanwhile
        plan = source.compile(settings)
        planned_s = time.monotonic() - began
        _foresee(plan)
        connection, ready = begun.bring_up(plan, owned=False)
    connection.close()
    total_s = time.monotonic() - began
    seconds = {"plan": planned_s, **ready.seconds, "total": total_s}
    nodes = len({domain.node for domain in plan.domains.values()})
    first = _first_node(plan)
    objects = counts(plan)
    output.result(
        {
            "name": name,
            "topology": plan.topology,
            "parameters": plan.parameters,
            "nodes": nodes,
            "domains": len(plan.domains),
            "objects": objects,
            "seconds": seconds,
        },
        [
            f"{name} is up: {nodes} nodes, {len(plan.domains)} domains, "
            f"{objects.total()} kernel objects, verified, in {total_s:.2f} s",
            "try:",
            f"  testbed shell {name} {first}",
            f"  testbed down {name}",
        ],
        as_json=as_json,
    )


def _foresee(plan: Plan) -> None:
    """Refuse what cannot be held; say how long it takes, where that is long."""
    import psutil

    from testbed.plan.footprint import check_footprint, footprint

    found = footprint(plan)
    check_footprint(found, psutil.virtual_memory().available)
    if found.bring_up_s > _LONG_S:
        output.note(f"{found.objects} kernel objects: this takes about {found.bring_up_s:.0f} s")


def _print_plan(plan: Plan, as_json: bool) -> None:
    if as_json:
        from testbed.plan.model import encode_in_order

        output.result(json.loads(encode_in_order(plan)), (), as_json=True)
        return
    from testbed.plan.show import plan_lines

    output.result(None, plan_lines(plan), as_json=False)


def _first_node(plan: Plan) -> str:
    return next(iter(plan.domains))


def _default_name(topology: str) -> str:
    """`/some/mine.py:ring` -> `ring`; `mine.py` -> `mine`."""
    tail = topology.rpartition(":")[2] if ".py:" in topology else topology
    return re.sub(r"\.py$", "", tail.rpartition("/")[2])


def _size_bytes(text: str | None) -> int | None:
    from testbed.units import parse_size_bytes

    return None if text is None else parse_size_bytes(text)


def _plan_settings(**given: object) -> PlanSettings:
    from testbed.plan.settings import PlanSettings

    chosen = {key: value for key, value in given.items() if value is not None}
    return PlanSettings(**chosen)  # type: ignore[arg-type]
