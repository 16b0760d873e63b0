"""The `testbed` command: a table of verbs, each in a module of its own that is loaded when used.

Installed packages may add verbs (`testbed.cli.plugged`); they are looked for only when a verb is
not in the table, and for the list of all.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from pathlib import Path

import click

import testbed
from testbed import interrupts
from testbed.cli import output
from testbed.errors import INTERRUPTED, ConflictError, UsageError, exit_statuses
from testbed.suggestions import suggestion

# verb -> (module, what it does); the order is that of --help.
VERBS = {
    "up": ("up", "Bring a topology up as a running testbed."),
    "ls": ("ls", "List the running testbeds."),
    "inspect": ("inspect", "Show nodes, NICs and links of a testbed; verify it."),
    "exec": ("exec", "Run a program on a node."),
    "shell": ("shell", "Open a shell on a node."),
    "down": ("down", "End a testbed."),
    "topologies": ("topologies", "List the topologies and their parameters."),
    "scenarios": ("scenarios", "List the scenarios that come along."),
    "predict": ("predict", "Predict a scenario: caps, length, what it needs."),
    "run": ("run", "Run a scenario: measure, judge, report."),
    "compare": ("compare", "Compare runs: intervals, and what is more than chance."),
    "sweep": ("sweep", "Run a grid of scenarios; goes on where it was ended."),
    "export": ("export", "Write the tables of a run, set or sweep as CSV or Parquet."),
    "profile": ("profile", "Measure a scenario's parameters on its cluster."),
    "experiments": ("experiments", "List the experiments that come along, and their times."),
    "experiment": ("experiment", "Answer experiments: runs, tables, figures, a page."),
    "report": ("report", "Write the report of a run again, or show it."),
    "doctor": ("doctor", "Check the kernel and the machine."),
}

# A line of the packages that come with the testbed; read, not imported.
_OUR_MARK = 'DISTRIBUTION = "dualpath-testbed"'

_FIRST_STEPS = """\
An emulated LLM-serving cluster on this machine.  Three commands to try:

  testbed doctor                    can this machine do it?
  testbed up 1p1d                   bring a small cluster up
  testbed run demo                  the main experiment, with a report

testbed --help lists all commands."""


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports one only when it is used."""

    @functools.cached_property
    def _plugged(self) -> dict[str, tuple[str, str]]:
        from testbed.cli.plugged import plugged_verbs

        return plugged_verbs(VERBS)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs, in the order of the table, then those of installed packages."""
        return [*VERBS, *self._plugged]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import a verb's module."""
        if name in VERBS:
            module = f"testbed.cli.{VERBS[name][0]}"
        elif name in self._plugged:
            module = self._plugged[name][0]
        else:
            return None
        command = importlib.import_module(module).command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table, without importing any verb."""
        with formatter.section("Commands"):
            every = {**VERBS, **self._plugged}
            formatter.write_dl([(verb, help_text) for verb, (_, help_text) in every.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of exit statuses."""
        with formatter.section("Exit statuses"):
            formatter.write_dl([(str(n), meaning) for n, meaning in exit_statuses().items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb; an unknown one gets a suggestion."""
        if args[0] not in VERBS and not args[0].startswith("-"):
            known = self.list_commands(ctx)
            if args[0] not in known:
                ctx.fail(f"there is no command {args[0]!r}: {suggestion(args[0], known)}")
        return super().resolve_command(ctx, args)


def _version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        click.echo(f"testbed {version('dualpath-testbed')}")
    except PackageNotFoundError:
        click.echo("testbed (run from a checkout that is not installed)")
    ctx.exit()


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Show the version and exit.",
)
@click.pass_context
def command(ctx: click.Context) -> None:
    """An emulated LLM-serving cluster on Linux network namespaces."""
    if ctx.invoked_subcommand is None:
        click.echo(_FIRST_STEPS)


def check_packages() -> None:
    """Refuse to go on with somebody else's `agents` or `topologies`.

    Both are common names; a package of that name earlier on the path would be imported in place of
    the ones that came with this testbed, and fail in ways that nobody can understand.  So would one
    that another distribution has written over ours, in the same directory.

    Raises:
        ConflictError: another package is in the way.
    """
    home = Path(testbed.__file__).resolve().parents[1]
    for name in ("agents", "topologies"):
        spec = importlib.util.find_spec(name)
        if spec is None:
            raise ConflictError(
                f"the package {name!r} that belongs to the testbed is missing",
                hint="install dualpath-testbed again",
            )
        places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or [])
        found = Path(str(places[0])).resolve()
        if found.parent.parent != home and found.parent != home:
            raise ConflictError(
                f"another package called {name!r} is in the way: {found}",
                hint=f"take its directory off PYTHONPATH, or start elsewhere; ours is in {home}",
            )
        if not found.is_file() or _OUR_MARK not in found.read_text(errors="replace"):
            raise ConflictError(
                f"another distribution has put its own {name!r} in the place of ours: {found}",
                hint="install dualpath-testbed in an environment of its own",
            )


def main() -> None:
    """The `testbed` command; `testbed.cli.start` is its entry point."""
    arguments = sys.argv[1:]
    ours = arguments[: arguments.index("--")] if "--" in arguments else arguments
    with interrupts.heeded() as signals, output.failures("--json" in ours):
        check_packages()
        try:
            status = command.main(arguments, prog_name="testbed", standalone_mode=False)
        except click.UsageError as error:
            if "--json" in ours:
                raise UsageError(error.format_message(), hint=_help_hint(error)) from error
            error.show()
            sys.exit(error.exit_code)
        except click.ClickException as error:
            raise UsageError(error.format_message()) from error
        except click.Abort:
            sys.exit(INTERRUPTED)
        if signals.arrived:
            status = INTERRUPTED  # all is done and said; what was to follow this command is not
    sys.exit(status if isinstance(status, int) else 0)


def _help_hint(error: click.UsageError) -> str:
    return f"try `{error.ctx.command_path} --help`" if error.ctx is not None else ""


if __name__ == "__main__":
    main()
