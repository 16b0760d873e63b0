"""`testbed shell`: a shell on a node, on a terminal of its own that this one relays to."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from testbed.cli import output
from testbed.cli.arguments import place

if TYPE_CHECKING:
    from testbed.sandbox.protocol import Connection

_CHUNK_BYTES = 65536
_EPILOG = """\b
Examples:
  testbed shell pe0
  testbed shell two pe0g3
"""


@click.command("shell", epilog=_EPILOG, options_metavar="")
@click.argument("words", nargs=-1, metavar="[NAME] NODE")
def command(words: tuple[str, ...]) -> None:
    """Open a shell ($SHELL, else bash, else sh) on NODE of the testbed NAME (or the only one)."""
    with output.failures(False):
        from testbed.cli import attached

        name, node = place(words)
        what = attached.program(node, [_shell()])
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            # A script on standard input: the shell reads it itself.
            relay = attached.Relay()
            relay.install()
            connection = attached.spawn(name, what, [0, 1, 2])
            relay.to(connection)
            sys.exit(attached.shell_status(attached.wait(connection)))
        master, slave = os.openpty()
        # The new terminal starts as this one is: its size, its erase character, its control keys.
        termios.tcsetattr(slave, termios.TCSANOW, termios.tcgetattr(0))
        _copy_size(master)
        connection = attached.spawn(name, what, [slave] * 3, tty=True)
        os.close(slave)
        signal.signal(signal.SIGWINCH, lambda *_: _copy_size(master))
        with _raw():
            _relay(master, connection)
        sys.exit(attached.shell_status(attached.wait(connection)))


def _shell() -> str:
    for candidate in (os.environ.get("SHELL"), "/bin/bash"):
        if candidate and shutil.which(candidate):
            return candidate
    return "/bin/sh"


def _copy_size(master: int) -> None:
    """Give the new terminal the size of this one; its programs get SIGWINCH."""
    with contextlib.suppress(OSError):
        fcntl.ioctl(master, termios.TIOCSWINSZ, fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8)))


@contextlib.contextmanager
def _raw() -> Iterator[None]:
    """Every key goes through as it is; afterwards the terminal is as it was, whatever happens."""
    before = termios.tcgetattr(0)

    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, leave)
    try:
        tty.setraw(0, termios.TCSADRAIN)  # keeping what was typed ahead
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def _relay(master: int, connection: Connection) -> None:
    """Copy both ways until the shell has ended, and all that it wrote is shown."""
    poll = select.poll()
    poll.register(master, select.POLLIN)
    poll.register(0, select.POLLIN)
    poll.register(connection, select.POLLIN)
    while True:
        ready = {fd for fd, _ in poll.poll()}
        if master in ready and not _copy(master, 1):
            return  # nobody has the terminal open any more
        if 0 in ready and not _copy(0, master):
            poll.unregister(0)
        if connection.fileno() in ready and master not in ready:
            return  # the shell has ended (what it left in the background may live on)


def _copy(source: int, target: int) -> bool:
    """Copy what is there; False at the end, which is EIO for a terminal: pty(7)."""
    try:
        data = memoryview(os.read(source, _CHUNK_BYTES))
    except OSError:
        return False
    if not data:
        return False
    while data:
        data = data[os.write(target, data) :]
    return True
