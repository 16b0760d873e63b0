"""The first moment of the `testbed` command: before it minds Ctrl-C, that just ends it."""

from __future__ import annotations

import signal


def main() -> None:
    """Entry point of the `testbed` command.

    Importing the rest takes a moment, in which Python would answer Ctrl-C with a traceback.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from testbed.cli.main import main as command

    command()


if __name__ == "__main__":
    main()
