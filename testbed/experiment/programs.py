"""The programs of one variant while it runs: started together, led by lines, watched, ended.

JSON lines come on standard output; `start` and `stop` go to standard input.
"""

from __future__ import annotations

import contextlib
import json
import queue
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from testbed.errors import ProgramError
from testbed.experiment.workload import Placed
from testbed.lab import Lab, Process

_TAIL_BYTES = 2000
_READER_TIMEOUT_S = 10.0
_ENDING_S = 0.5  # in which the others notice that one has ended


class Said(NamedTuple):
    """A line that a program wrote, decoded; `event` None means that it has ended."""

    name: str
    event: str | None
    fields: dict[str, Any]


class Running:
    """The programs of one variant.

    Args:
        lab: where they run.
        placed: what to run; the last one leads.
        logs: directory for standard error, one file per program.
    """

    def __init__(self, lab: Lab, placed: Sequence[Placed], logs: Path) -> None:
        self._logs = logs
        self._said: queue.Queue[Said] = queue.Queue()
        self._processes: dict[str, Process] = {}
        self._threads: list[threading.Thread] = []
        self._scope = contextlib.ExitStack()
        self.leader = placed[-1].name
        self._stopping = False
        for one in placed:
            log = self._scope.enter_context((logs / f"{one.name}.log").open("wb"))
            process = lab.start(one.program, stderr=log)
            self._processes[one.name] = process
            thread = threading.Thread(target=self._read, args=(one.name, process), daemon=True)
            thread.start()
            self._threads.append(thread)

    def __enter__(self) -> Running:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping = True
        for process in self._processes.values():
            if process.status is None:
                process.kill()
        for thread in self._threads:
            thread.join(_READER_TIMEOUT_S)
        for process in self._processes.values():
            process.close()
        self._scope.close()

    def _read(self, name: str, process: Process) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            try:
                fields = json.loads(line)
                self._said.put(Said(name, fields.pop("event"), fields))
            except (ValueError, KeyError):
                self._said.put(Said(name, "output", {"line": line.decode(errors="replace")}))
        self._said.put(Said(name, None, {}))

    def next(self, timeout_s: float) -> Said | None:
        """The next thing said, or None after `timeout_s`.

        Raises:
            ProgramError: a program has ended although nobody told it to.
        """
        try:
            said = self._said.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if said.event is None and not self._stopping:
            raise self._died(self._first_to_end(said.name))
        return said

    def _first_to_end(self, name: str) -> str:
        """Of programs that have ended, the one whose log is oldest: others lost it, and said so."""
        ended = [name]
        while True:
            try:
                said = self._said.get(timeout=_ENDING_S)
            except queue.Empty:
                break
            if said.event is None:
                ended.append(said.name)
        return min(ended, key=lambda each: (self._logs / f"{each}.log").stat().st_mtime_ns)

    def _died(self, name: str) -> ProgramError:
        status = self._processes[name].wait(timeout=5.0)
        log = self._logs / f"{name}.log"
        tail = log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace").strip()
        return ProgramError(
            f"{name} ended with status {status} in the middle of the run\n{tail}",
            hint=f"its standard error is in {log}",
        )

    def tell(self, line: str) -> None:
        """Write a line to the standard input of every program."""
        for process in self._processes.values():
            assert process.stdin is not None
            process.stdin.write(line.encode() + b"\n")
            process.stdin.flush()

    def await_all(self, event: str, timeout_s: float) -> None:
        """Wait until every program has said `event`."""
        missing = set(self._processes)
        until_s = time.monotonic() + timeout_s
        while missing:
            said = self.next(max(0.0, until_s - time.monotonic()))
            if said is None:
                raise ProgramError(
                    f"{', '.join(sorted(missing))} did not say {event!r} within {timeout_s:g}s",
                    hint=f"their standard error is in {self._logs}",
                )
            if said.event == event:
                missing.discard(said.name)

    def end(self, timeout_s: float) -> None:
        """After `stopped`: close standard input everywhere and wait for status 0."""
        self._stopping = True
        for process in self._processes.values():
            assert process.stdin is not None
            process.stdin.close()
        for name, process in self._processes.items():
            if process.wait(timeout=timeout_s) != 0:
                raise self._died(name)
