"""`testbed inspect`: what a running testbed is made of, and whether the kernel still agrees."""

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
    """Show the nodes, links and shapers of the testbed NAME (or the only one)."""
    with output.failures(as_json):
        from testbed.errors import VerifyError
        from testbed.plan.model import counts, decode, encode_in_order
        from testbed.plan.show import plan_lines
        from testbed.sandbox import registry
        from testbed.sandbox.client import ask
        from testbed.sandbox.protocol import Differs, GetPlan, Value, Verify

        entry = registry.find(name)
        plan = decode(ask(entry, GetPlan(), Value).data)
        lines = [f"testbed {entry.name}, since {entry.about.get('created')}", *plan_lines(plan)]
        body = {"name": entry.name, "created": entry.about.get("created")}
        body |= json.loads(encode_in_order(plan))
        body["elements"] = counts(plan)
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
