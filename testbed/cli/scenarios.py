"""`testbed scenarios`: those that come along, as a start for one's own, and their schema."""

from __future__ import annotations

import json

import click

from testbed.cli import output
from testbed.cli.arguments import json_option

_EPILOG = """\b
Examples:
  testbed scenarios
  testbed scenarios demo > mine.yaml     to begin your own from; then: testbed run mine.yaml
  testbed scenarios --schema > scenario.schema.json
"""


@click.command("scenarios", epilog=_EPILOG)
@click.argument("name", required=False, metavar="[NAME]")
@click.option("--schema", is_flag=True, help="Print the JSON schema of a scenario file.")
@click.option("--workload", default=None, help="With --schema: of this workload's scenarios.")
@json_option
def command(name: str | None, schema: bool, workload: str | None, as_json: bool) -> None:
    """List the scenarios that `testbed run` knows by name; print the file of NAME."""
    with output.failures(as_json):
        if name is not None:
            _print(name, as_json)
            return
        if schema:
            from testbed.experiment.scenario import Scenario, json_schema
            from testbed.experiment.workload import find_workload

            plugin = workload or Scenario.model_fields["plugin"].default
            # JSON Schema is JSON either way.
            click.echo(json.dumps(json_schema(find_workload(plugin).scenario_type), indent=2))
            return
        from testbed.experiment.plugins import shipped_scenarios

        shipped = shipped_scenarios()
        width = max((len(scenario.name) for scenario in shipped), default=0)
        output.result(
            {
                "scenarios": [
                    {"name": one.name, "workload": one.plugin, "description": one.description}
                    for one in shipped
                ]
            },
            [f"{one.name:{width}}  {one.description}" for one in shipped]
            or ["no scenarios: no workload is installed"],
            as_json=as_json,
        )


def _print(name: str, as_json: bool) -> None:
    from testbed.experiment.plugins import find_scenario

    source = find_scenario(name)
    output.result({"name": name, "yaml": source.text}, source.text.splitlines(), as_json=as_json)
