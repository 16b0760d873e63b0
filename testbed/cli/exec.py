"""`testbed exec`: run a program on a node, as if it had been started there."""

from __future__ import annotations

import os
import sys

import click

from testbed.cli import output
from testbed.cli.arguments import place
from testbed.errors import EXEC_FAILED, UsageError

_EPILOG = """\b
Examples:
  testbed exec pe0 -- ip address
  testbed exec two pe0 -- ping -c1 de0

\b
The exit status is the program's own (128+n for signal n); 125 if the testbed
failed, 126 if the program could not be run, 127 if it was not found.
"""


@click.command(
    "exec",
    epilog=_EPILOG,
    options_metavar="",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[NAME] NODE -- COMMAND…")
def command(words: tuple[str, ...]) -> None:
    """Run COMMAND on NODE of the testbed NAME (or the only one).

    It has this command's standard input, output and error, environment and working directory.
    """
    with output.failures(False, exit_status=EXEC_FAILED):
        from testbed.cli import attached

        if "--" not in words or words[-1] == "--":
            raise UsageError(
                "there is no command to run", hint="put it behind --, as in: testbed exec h1 -- ls"
            )
        cut = words.index("--")
        name, node = place(words[:cut])
        what = attached.program(node, words[cut + 1 :])
        relay = attached.Relay()
        relay.install()
        connection = attached.spawn(name, what, _standard())
        relay.to(connection)
        status = attached.shell_status(attached.wait(connection))
    # Without the interpreter's own end: the program may have closed or filled our output.
    sys.stdout.flush()
    os._exit(status)


def _standard() -> list[int]:
    """Descriptors 0, 1 and 2; /dev/null for one that is closed."""
    given = []
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            given.append(os.open(os.devnull, os.O_RDWR))
        else:
            given.append(number)
    return given
