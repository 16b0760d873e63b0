"""What all processes of a run have in common: start, readiness, stop, and errors that end them.

A process is told its name and its cluster's file on the command line, and is led by lines on
its standard input; it answers with JSON lines on its standard output:

    -> {"event": "ready"}         connected to everything, waiting
    <- start                      go
    <- stop                       no new work; losing a peer is no error from now on
    -> {"event": "stopped"}       records are on disk
    <- (end of file)              leave; this is also how a dead runner takes its processes along

Whatever goes wrong in any task ends the process.  It says so before it closes anything, so that
the runner hears of the cause before it hears from those who then lose their peer:

    -> {"event": "failed", "kind", "message", "hint", "lost", "t_s"}

and on standard error: an error of the testbed's as its message, anything else with a traceback.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import msgspec

from agents import cluster as cluster_file
from agents.cluster import SCHEDULER, Cluster
from agents.control.mesh import Mesh, PeerLost
from agents.control.messages import Message, NodeLost, Ping, Pong
from agents.control.replies import Replies
from agents.records import EventRecord, LoopLagRecord, ProcessRecord, RecordLog
from agents.timers import CountingLoop
from testbed.errors import TestbedError, no_space
from testbed.sandbox.protocol import Failed

LAG_PERIOD_S = 0.05
_DECLARED_WITHIN_S = 20.0  # after the silence that it takes
_COLLECT_AFTER = 100_000  # objects more than there were


def say(**fields: object) -> None:
    """One JSON line on standard output, for the runner."""
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


class Process:
    """Base of the node, storage, scheduler and client processes.

    Args:
        name: e.g. "pe0".
        cluster: what the run is made of.
    """

    def __init__(self, name: str, cluster: Cluster) -> None:
        self.name = name
        self.cluster = cluster
        self.replies = Replies()
        again = f".{cluster.incarnation}" if cluster.incarnation else ""
        self.records = RecordLog(Path(cluster.records) / f"{name}{again}.records")
        self.mesh = Mesh(name, cluster.control, self._handle, self._fail, self.back)
        self.lost: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: asyncio.Future[None] | None = None
        self._lag: asyncio.Task[None] | None = None
        self._lags_s: list[tuple[float, float]] = []  # when it was due, how late it was
        self.copied_bytes: Counter[str] = Counter()
        self.started = asyncio.Event()
        self._cpu_before_s = 0.0

    # --- what a kind of process adds -----------------------------------------------------

    async def connect(self) -> None:
        """Open data connections; called when the control mesh is complete."""

    def listen(self) -> None:
        """Open listening sockets; called before anything connects."""

    def handle(self, sender: str, message: Message) -> None:
        """A control message has arrived."""
        raise NotImplementedError

    def finish(self) -> None:
        """Write the last records."""

    def leave(self) -> None:
        """Close everything; by now nobody takes that for a failure."""

    def peaks(self) -> dict[str, int]:
        """Peak use of each arena, in bytes."""
        return {}

    # --- what they all do ----------------------------------------------------------------

    def _handle(self, sender: str, message: Message) -> None:
        try:
            match message:
                case NodeLost():
                    if message.node not in self.lost:
                        self.lose(message.node)
                case Ping():
                    self.mesh.send(sender, Pong())
                case _:
                    self.handle(sender, message)
        except Exception as error:
            self._fail(error)

    def lose(self, node: str) -> None:
        """A node has been declared lost: nothing of it is heard or waited for any more."""
        self.lost.add(node)
        self.mesh.drop(node)
        self.replies.lose(node)

    def away(self, error: PeerLost) -> None:
        """A peer has gone that nobody has declared lost yet.

        The scheduler will, if it was a node; if it does not, the peer's end was no node's loss.
        If it was the scheduler itself, another one comes.
        """
        if error.peer == SCHEDULER and self.cluster.schedulers > 1:
            return
        loop = asyncio.get_running_loop()
        loop.call_later(self.cluster.silent_after_s + _DECLARED_WITHIN_S, self._missed, error)

    def back(self, peer: str) -> None:
        """A peer has been started again: it knows nothing of what was."""

    def _missed(self, error: PeerLost) -> None:
        if error.peer not in self.lost and not self.mesh.closing:
            self._end(error)

    def _fail(self, error: BaseException) -> None:
        if self.cluster.faults and isinstance(error, PeerLost) and error.peer:
            if error.peer not in self.lost:
                self.away(error)
        else:
            self._end(error)

    def _end(self, error: BaseException) -> None:
        if self._failure is not None and not self._failure.done():
            self._failure.set_exception(error)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine as a task of this process; its failure is the process's."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def event(self, kind: str, request: int, detail: str) -> None:
        """Record something that should not pass unseen."""
        self.records.append(EventRecord(self.name, time.monotonic(), kind, request, detail))
        if self.cluster.faults:
            self.records.flush()  # this process may be killed

    def answer(self, kind: str, number: int, message: Message) -> None:
        """Hand an answer to whoever waits for it; one that nobody waits for is recorded."""
        if not self.replies.resolve(kind, number, message):
            self.event("late-answer", number, kind)

    async def _watch_lag(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_PERIOD_S
            await asyncio.sleep(LAG_PERIOD_S)
            self._lags_s.append((due, loop.time() - due))

    async def _commands(self) -> None:
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        stopped = False
        while line := await reader.readline():
            if line == b"start\n":
                self._cpu_before_s = time.process_time()
                self.started.set()
            elif line == b"stop\n" and not stopped:
                stopped = True
                self._stop()
        if not stopped:
            self._stop()

    def _stop(self) -> None:
        self.mesh.closing = True
        self.finish()
        for due_s, lag_s in self._lags_s:
            self.records.append(LoopLagRecord(self.name, due_s, lag_s))
        lags = sorted(lag_s for _, lag_s in self._lags_s)
        p99_s = lags[int(len(lags) * 0.99)] if lags else 0.0
        self.records.append(
            ProcessRecord(
                self.name,
                time.process_time(),
                p99_s,
                self.mesh.messages_sent,
                self.peaks(),
                self.laid_down_bytes(),
                dict(self.copied_bytes),
                self._timers(),
                time.process_time() - self._cpu_before_s,
            )
        )
        self.records.close()
        say(event="stopped")

    def _timers(self) -> int:
        loop = asyncio.get_running_loop()
        return loop.timers if isinstance(loop, CountingLoop) else 0

    def laid_down_bytes(self) -> int:
        """KV bytes this process made for a warm start (storage only)."""
        return 0

    async def run(self) -> None:
        """From start to end of file on standard input; then, or if this fails, `close` is due."""
        loop = asyncio.get_running_loop()
        self._failure = loop.create_future()
        self.listen()
        if self.cluster.incarnation:
            await self.mesh.rejoin()
        else:
            await self.mesh.connect()
        await self.connect()
        self._lag = loop.create_task(self._watch_lag())
        commands = loop.create_task(self._commands())
        # What lives for the whole run is never garbage: the collector would walk all of it, again
        # and again, for the many small objects that come and go.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_COLLECT_AFTER)
        say(event="ready")
        await asyncio.wait({commands, self._failure}, return_when=asyncio.FIRST_COMPLETED)
        if self._failure.done():
            self._failure.result()
        commands.result()

    def close(self) -> None:
        """End every task, close every connection."""
        if self._lag is not None:
            self._lag.cancel()
        for task in list(self._tasks):
            task.cancel()
        self.leave()
        self.mesh.close()


def main(kind: Callable[[str, Cluster], Process]) -> None:
    """The command line of every process: --name NAME --cluster FILE [--incarnation NUMBER]."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--cluster", required=True, type=Path)
    parser.add_argument("--incarnation", default=0, type=int)
    arguments = parser.parse_args()
    cluster = cluster_file.read(arguments.cluster)
    cluster = msgspec.structs.replace(cluster, incarnation=arguments.incarnation)

    async def live() -> None:
        with _telling():
            process = kind(arguments.name, cluster)
            with contextlib.closing(process), _telling():
                await process.run()

    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        runner.run(live())


@contextlib.contextmanager
def _telling() -> Iterator[None]:
    """Tell of an error once, at the innermost of these, and end with its exit status."""
    try:
        yield
    except Exception as error:
        t_s = time.monotonic()
        if isinstance(told := no_space(error) or no_space(error.__cause__) or error, TestbedError):
            status, text, failed = told.exit_status, f"{told}\n", Failed.of(told)
        else:
            status, text, failed = 1, traceback.format_exc(), _defect(error)
        with contextlib.suppress(OSError):  # its file may be on a full disk
            sys.stderr.write(text)
            sys.stderr.flush()
        with contextlib.suppress(OSError):  # nobody may be there to hear it
            lost = isinstance(error, PeerLost)
            say(event="failed", lost=lost, t_s=t_s, **msgspec.structs.asdict(failed))
        raise SystemExit(status) from error


def _defect(error: Exception) -> Failed:
    """An error that nobody raised on purpose, with its place: perhaps a user's file."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    what = "".join(traceback.format_exception_only(error)).strip()
    place = f"{last.filename}:{last.lineno}, in {last.name}"
    return Failed("ProgramError", f"{what} ({place})", "")
