"""The programs of one variant while it runs: started together, led by lines, watched, ended.

JSON lines come on standard output; `start` and `stop` go to standard input.  A program that fails
says so before it lets go of anything that others would miss:

    {"event": "failed", "kind": class of testbed.errors, "message", "hint",
     "lost": whether it only lost another program, "t_s": time.monotonic()}

The leading program may ask for a fault of another one, to see how the rest gets by:

    {"event": "provoke", "action": "stop", "resume", "kill" or "start", "program": its name}

From then on the end of that program is no failure, however it comes about; one that is started
again counts like any other.
"""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from testbed.errors import ProgramError, TestbedError
from testbed.experiment.workload import Placed, Provoked
from testbed.lab import Lab, Process
from testbed.sandbox.program import Program

_TAIL_BYTES = 2000
_READER_TIMEOUT_S = 10.0
_ENDING_S = 1.0  # in which the cause is heard, if what was heard first is a consequence
_FAILED = "failed"
_KINDS = {kind.__name__: kind for kind in TestbedError.__subclasses__()}


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
        self._lab, self._logs = lab, logs
        # Of the two queues the one that an exception out of a signal handler cannot leave locked.
        self._said: queue.SimpleQueue[Said] = queue.SimpleQueue()
        self._processes: dict[str, Process] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._scope = contextlib.ExitStack()
        self.leader = placed[-1].name
        self._stopping = False
        self._again = {one.name: list(one.again) for one in placed}
        self._excused: set[str] = set()  # their end is no failure
        self._halted: set[str] = set()  # of these: nothing is to be heard of them
        self._ends: Counter[str] = Counter()  # to be heard yet of what was started again
        for one in placed:
            self._start(one.name, one.program)

    def _start(self, name: str, program: Program) -> None:
        log = self._scope.enter_context((self._logs / f"{name}.log").open("ab"))
        process = self._lab.start(program, stderr=log)
        self._processes[name] = process
        thread = threading.Thread(target=self._read, args=(name, process), daemon=True)
        thread.start()
        self._threads[name] = thread

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
        for thread in self._threads.values():
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
            TestbedError: a program has failed, and said why.
            ProgramError: a program has ended although nobody told it to.
        """
        try:
            said = self._said.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if said.event in (_FAILED, None):
            if self._is_foreseen(said):
                return said
            if not self._stopping:
                raise self._error(blamed(self._endings(said)))
        return said

    def _is_foreseen(self, said: Said) -> bool:
        """Whether a failure or an end is that of a program with a fault that was asked for."""
        if said.name in self._excused or self._ends[said.name] > 0:
            self._ends[said.name] -= said.event is None
            return True
        return False

    def _endings(self, first: Said) -> list[Said]:
        """What is heard of failures and ends, from the first on until the cause is among them."""
        heard = [first]
        until_s = time.monotonic() + _ENDING_S
        while not (heard[-1].event == _FAILED and not heard[-1].fields.get("lost")):
            try:
                said = self._said.get(timeout=max(0.0, until_s - time.monotonic()))
            except queue.Empty:
                break
            if said.event in (_FAILED, None) and not self._is_foreseen(said):
                heard.append(said)
        return heard

    def _error(self, said: Said) -> TestbedError:
        log = self._logs / f"{said.name}.log"
        if said.event == _FAILED:
            kind, message, hint = (str(said.fields.get(k, "")) for k in ("kind", "message", "hint"))
            where = f"{hint}; " if hint else ""
            error = _KINDS.get(kind, ProgramError)
            return error(f"{said.name}: {message}", hint=f"{where}what it said is in {log}")
        status = self._processes[said.name].wait(timeout=5.0)
        tail = log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace").strip()
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        return ProgramError(
            "\n".join(filter(None, [f"{said.name} {how} in the middle of the run", tail])),
            hint=f"its standard error is in {log}",
        )

    def tell(self, line: str) -> None:
        """Write a line to the standard input of every program."""
        for name in self._processes:
            self._tell(name, line)

    def _tell(self, name: str, line: str) -> None:
        pipe = self._processes[name].stdin
        assert pipe is not None
        # Who has ended hears nothing; that it has ended is heard by `next`, and whether it may.
        with contextlib.suppress(BrokenPipeError):
            pipe.write(line.encode() + b"\n")
            pipe.flush()

    def provoke(self, action: str, name: str) -> Provoked:
        """Carry a fault out that was asked for.

        Args:
            action: as in `Provoked`.
            name: of the program.

        Raises:
            ProgramError: there is no such program or action, or it cannot be started again.
        """
        if name not in self._processes or name == self.leader:
            raise ProgramError(f"{self.leader} asks to {action} {name!r}, which it may not")
        process = self._processes[name]
        if action == "stop":
            self._excused.add(name)
            self._halted.add(name)
            process.send_signal(signal.SIGSTOP)
        elif action == "resume":
            self._halted.discard(name)
            process.send_signal(signal.SIGCONT)
        elif action == "kill":
            self._excused.add(name)
            self._halted.add(name)
            process.kill()
        elif action == "start" and process.status is not None and self._again[name]:
            self._start_again(name)
        else:
            raise ProgramError(f"{self.leader} asks to {action} {name}, which cannot be done")
        return Provoked(action, name, time.monotonic())

    def _start_again(self, name: str) -> None:
        self._threads[name].join(_READER_TIMEOUT_S)  # all that it said is heard before what follows
        self._processes[name].close()
        self._ends[name] += 1  # 0 if it has been heard
        self._start(name, self._again[name].pop(0))
        self._halted.discard(name)
        self._excused.discard(name)
        self._tell(name, "start")

    def await_all(self, event: str, timeout_s: float) -> None:
        """Wait until every program has said `event`, if it can still be heard."""
        missing = set(self._processes) - self._halted
        until_s = time.monotonic() + timeout_s
        while missing:
            said = self.next(max(0.0, until_s - time.monotonic()))
            if said is None:
                raise ProgramError(
                    f"{', '.join(sorted(missing))} did not say {event!r} within {timeout_s:g}s",
                    hint=f"their standard error is in {self._logs}",
                )
            if said.event == event or (said.event is None and said.name in self._excused):
                missing.discard(said.name)

    def end(self, timeout_s: float) -> None:
        """After `stopped`: close standard input everywhere and wait for status 0."""
        self._stopping = True
        for name, process in self._processes.items():
            if name in self._halted:
                process.kill()
            assert process.stdin is not None
            process.stdin.close()
        for name, process in self._processes.items():
            try:
                status = process.wait(timeout=timeout_s)
            except TimeoutError:
                raise ProgramError(
                    f"{name} did not end within {timeout_s:g}s of the end of its input",
                    hint=f"its standard error is in {self._logs / name}.log",
                ) from None
            if status != 0 and name not in self._excused:
                raise self._error(blamed(self._endings(Said(name, None, {}))))


def blamed(heard: Sequence[Said]) -> Said:
    """Of programs that failed or ended, the one that the others' ends follow from.

    Args:
        heard: `failed` events and ends (`event` None), in order of their arrival.

    Returns:
        The earliest failure that is not the loss of another program; else the end of a program
        that said nothing (it was killed); else the earliest loss.
    """
    failed = sorted(
        (said for said in heard if said.event == _FAILED),
        key=lambda said: (bool(said.fields.get("lost")), said.fields.get("t_s", 0.0)),
    )
    if failed and not failed[0].fields.get("lost"):
        return failed[0]
    spoke = {said.name for said in failed}
    silent = [said for said in heard if said.event is None and said.name not in spoke]
    return [*silent, *failed][0]
