"""Ctrl-C and SIGTERM as KeyboardInterrupt: one at a time, and only where it does no harm.

Python raises KeyboardInterrupt wherever the main thread is: between a lock and its `with`, in a
`finally`, in an extension that is being imported and makes an ImportError of it.  A command that
is to end in order, and twice in a row if need be, cannot live with that.  So here

- what is raised is raised once: while it unwinds the stack, a further signal raises nothing;
- in a `held` block, and behind one in which a signal came, nothing is raised but where the code
  says so (`let_through`): where it waits;
- the third signal ends the process on the spot.  That is always safe: a testbed ends with its
  owner, by whatever end.

The functions of this module speak of the handler that is installed.  Where none is (in a notebook,
in a thread), they do nothing, and Python's own rules hold.  Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

from testbed.errors import INTERRUPTED

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PATIENCE = 3  # signals
_CURSOR_ON = b"\x1b[?25h"  # a progress line hides it, see console_codes(4)


class Interrupts:
    """A handler of signals.

    Args:
        arrived: how many have come.
    """

    def __init__(self) -> None:
        self.arrived = 0
        self._raises_at: int | None = 1  # None: nothing is raised

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """A signal has come."""
        self.arrived += 1
        if self._raises_at is not None and self.arrived >= self._raises_at:
            self._raises_at = None
            raise KeyboardInterrupt
        if self.arrived >= _PATIENCE:
            _end_at_once()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """See `held`."""
        before, self._raises_at = self._raises_at, None
        try:
            yield
        finally:
            self._restore(before)

    @contextlib.contextmanager
    def let_through(self, at: int) -> Iterator[None]:
        """See `let_through`."""
        before, self._raises_at = self._raises_at, at
        try:
            if self.arrived >= at:
                self._raises_at = None
                raise KeyboardInterrupt
            yield
        finally:
            self._restore(before)

    def _restore(self, before: int | None) -> None:
        """As it was before a block, unless a signal has come: what it has begun is undisturbed."""
        self._raises_at = None if self.arrived else before


def _end_at_once() -> None:
    said = b"\ntestbed: ended at once; nothing runs any more, what was being written is not whole\n"
    with contextlib.suppress(OSError):
        os.write(2, _CURSOR_ON + said if os.isatty(2) else said)
    os._exit(INTERRUPTED)


def _installed() -> Interrupts | None:
    for each in SIGNALS:  # one of them may be ignored
        handler = signal.getsignal(each)
        if isinstance(handler, Interrupts):
            return handler
    return None


@contextlib.contextmanager
def heeded() -> Iterator[Interrupts]:
    """Install a handler for a whole command; behind it, signals are ignored.

    What follows is the interpreter's own end, whose status no late signal is to change.  A signal
    that the parent ignores (nohup, a background job of a script) stays ignored.
    """
    handler = Interrupts()
    heard = [each for each in SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]
    for each in heard:
        signal.signal(each, handler)
    try:
        yield handler
    finally:
        for each in heard:
            signal.signal(each, signal.SIG_IGN)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Raise nothing in the block: signals are counted, for the next `let_through`."""
    handler = _installed()
    with contextlib.nullcontext() if handler is None else handler.held():
        yield


@contextlib.contextmanager
def let_through(at: int = 1) -> Iterator[None]:
    """Raise in the block, once.

    Args:
        at: the signal, counted from the command's begin, that is raised if it comes in the block or
            came before it.  2 is for what the first one has begun, and only a second may break off.

    Raises:
        KeyboardInterrupt: it has come.
    """
    handler = _installed()
    with contextlib.nullcontext() if handler is None else handler.let_through(at):
        yield


def check() -> None:
    """Go on only if no signal has come.

    Raises:
        KeyboardInterrupt: one has.
    """
    with let_through():
        pass


def arrived() -> int:
    """How many signals have come; 0 where no handler is installed."""
    handler = _installed()
    return 0 if handler is None else handler.arrived
