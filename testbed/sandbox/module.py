"""Running a Python module in a forked interpreter as `python -P -m MODULE` would in a new one.

What is the same: sys.argv and sys.path, standard streams, exit status, tracebacks on standard
error, a death by Ctrl-C, threads that are waited for, atexit handlers, and an error for output that
could not be written.  What is not: PYTHON… variables, which an interpreter reads when it starts,
but for PYTHONUNBUFFERED.
"""

from __future__ import annotations

import atexit
import io
import os
import runpy
import signal
import sys
import threading

_OUTPUT_LOST = 120  # as Py_FinalizeEx: standard output could not be flushed


def run_module(module: str, arguments: tuple[str, ...], path: tuple[str, ...] = ()) -> int:
    """Run a module to its end, that of its threads and exit handlers included.

    Args:
        module: its dotted name.
        arguments: sys.argv[1:].
        path: directories that are searched before those of sys.path, as PYTHONPATH's would be.

    Returns:
        The exit status; there is none if Ctrl-C ends the module: this process dies of SIGINT.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # as the interpreter starts with
    _renew_streams()
    sys.argv = [module, *arguments]
    sys.path[:0] = path
    interrupted = False
    try:
        status = _run(module)
    except KeyboardInterrupt:
        sys.excepthook(*sys.exc_info())
        interrupted, status = True, 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except (OSError, ValueError) as error:
        if not sys.stdout.closed:
            print(f"{module}: the output could not be written: {error}", file=sys.stderr)
            status = _OUTPUT_LOST
    sys.stderr.flush()
    if interrupted:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    return status


def _run(module: str) -> int:
    known = sys.modules.get(module)
    if known is not None and not hasattr(known, "__path__"):
        del sys.modules[module]  # preloaded; a new interpreter has it as __main__ alone
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except KeyboardInterrupt:
        raise
    except SystemExit as leaving:
        if leaving.code is None:
            return 0
        if isinstance(leaving.code, int):
            return leaving.code & 0xFF
        print(leaving.code, file=sys.stderr)
        return 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def _renew_streams() -> None:
    """Standard streams over descriptors 0, 1 and 2 as they are now."""
    sys.stdin = _stream(0, "r")
    sys.stdout = _stream(1, "w", line_buffering=os.isatty(1))
    sys.stderr = _stream(2, "w", line_buffering=True, errors="backslashreplace")
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = (  # type: ignore[misc]
        sys.stdin,
        sys.stdout,
        sys.stderr,
    )


def _stream(
    descriptor: int, mode: str, *, line_buffering: bool = False, errors: str = "strict"
) -> io.TextIOWrapper:
    unbuffered = mode == "w" and bool(os.environ.get("PYTHONUNBUFFERED"))
    return io.TextIOWrapper(
        os.fdopen(descriptor, f"{mode}b", buffering=0 if unbuffered else -1, closefd=False),
        errors=errors,
        line_buffering=line_buffering,
        write_through=unbuffered,
    )
