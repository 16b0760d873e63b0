"""`testbed inspect`: what a running testbed is made of, what its NICs have carried so far, and
whether the kernel still agrees with its plan.
"""

from __future__ import annotations

import json

import click

from testbed.cli import output
from testbed.cli.arguments import json_option, name_argument


@click.command("inspect")
@name_argument
@click.option("--verify", is_flag=True, help="Read the kernel back and compare with the plan.")
@json_option
def command(name: str | None, verify: bool, as_json: bool) -> None:
    """Show nodes, links, shapers and counters of the testbed NAME (or the only one)."""
    with output.failures(as_json):
        import msgspec

        from testbed.cli.carried import carried, carried_lines
        from testbed.errors import VerifyError
        from testbed.kernel.samples import LinkSample, MeterSample
        from testbed.plan.model import counts, decode, encode_in_order
        from testbed.plan.show import plan_lines
        from testbed.sandbox import registry
        from testbed.sandbox.client import ask
        from testbed.sandbox.protocol import (
            Differs,
            GetPlan,
            ReadCounters,
            ReadLinks,
            Value,
            Verify,
        )

        entry = registry.find(name)
        plan = decode(ask(entry, GetPlan(), Value).data)
        meters = msgspec.msgpack.decode(
            ask(entry, ReadCounters(), Value).data, type=list[MeterSample]
        )
        links = msgspec.msgpack.decode(
            ask(entry, ReadLinks(), Value).data, type=dict[str, dict[str, LinkSample]]
        )
        counters = carried(plan, meters, links)
        lines = [f"testbed {entry.name}, since {entry.about.get('created')}", *plan_lines(plan)]
        lines += ["", "carried so far", *(f"  {line}" for line in carried_lines(counters))]
        body = {"name": entry.name, "created": entry.about.get("created")}
        body |= json.loads(encode_in_order(plan))
        del body["elements"]  # what they are, `up --dry-run` prints
        body["objects"] = counts(plan)
        body["counters"] = counters
        differing: list[str] = []
        if verify:
            differing = ask(entry, Verify(), Differs).lines
            body["differences"] = differing
            lines += ["", "verified: the kernel is as the plan asks"] if not differing else []
        output.result(body, lines, as_json=as_json)
        if differing and not as_json:
            raise VerifyError(
                f"the kernel is not as the plan asks, in {len(differing)} places:\n  "
                + "\n  ".join(differing),
                hint="something has changed it behind the testbed's back: down and up again",
            )
    if differing:
        raise SystemExit(VerifyError.exit_status)
