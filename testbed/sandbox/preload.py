"""What the zygote imports for programs that ask for it (`Program.preload`), before it forks them.

A forked program must find what it would find in a new interpreter: so this is done for one kind of
program, in the surroundings that these have, and everything else is started by exec from then on.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from testbed.errors import ProgramError
from testbed.sandbox.program import Program


class _Asked(NamedTuple):
    """Modules, and what their import may depend on."""

    modules: tuple[str, ...]
    environment: dict[str, str]
    path: tuple[str, ...]


def _asked(program: Program) -> _Asked:
    return _Asked(program.preload, program.environment, program.module_path)


class Preload:
    """What has been imported in this process, and for whom."""

    def __init__(self) -> None:
        self._kept_for: _Asked | None = None  # the first that was asked for
        self._is_there = False

    def prepare(self, program: Program) -> None:
        """Import what a program that is to be forked asks for, if it is the first of its kind.

        Raises:
            ProgramError: it cannot be imported, or not without threads.
        """
        asked = _asked(program)
        if not (program.fork and asked.modules):
            return
        if self._kept_for is None:
            self._kept_for = asked
        if self._kept_for == asked and not self._is_there:
            _import(asked)
            self._is_there = True
            gc.collect()
            gc.freeze()  # a collection in a child walks nothing of it, and so copies no page

    def is_for(self, program: Program) -> bool:
        """Whether a program, forked, finds in here what it would find in a new interpreter."""
        return self._kept_for in (None, _asked(program))


def _import(asked: _Asked) -> None:
    with _surroundings(asked):
        for module in asked.modules:
            try:
                importlib.import_module(module)
            except (Exception, SystemExit) as error:
                raise ProgramError(
                    f"{module} cannot be preloaded: {type(error).__name__}: {error}",
                    hint="`preload` names modules that the program itself could import",
                ) from error
    if (threads := len(list(Path("/proc/self/task").iterdir()))) > 1:
        raise ProgramError(
            f"importing {', '.join(asked.modules)} starts threads ({threads - 1}), "
            "and what has threads cannot be forked",
            hint="preload nothing that does, or keep it from it by a variable of `environment` "
            "(numpy: OPENBLAS_NUM_THREADS=1)",
        )


@contextlib.contextmanager
def _surroundings(asked: _Asked) -> Iterator[None]:
    before, path = dict(os.environ), list(sys.path)
    os.environ.update(asked.environment)
    sys.path[:0] = asked.path
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # else every child would say it once more, as its own
        os.environ.clear()
        os.environ.update(before)
        sys.path[:] = path
