"""The client's process: plays agents against the cluster, and times what it gets.

It leads the run: it warms storage up, decides when the steady window opens and closes by one rule
for all policies, and says when everything has drained.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

import msgspec
import numpy as np

from agents.client.idle import IDLE_REQUEST, idle_submission
from agents.client.playing import Submission
from agents.client.replay import make_replay
from agents.client.tokens import TokenSessions
from agents.cluster import SCHEDULER, Cluster
from agents.control.mesh import PeerLost
from agents.control.messages import Done, LaidDown, LayDown, Message, Provoke, Submit
from agents.faults import OF_PROCESSES
from agents.loss import bereft
from agents.process import Process, main, say
from agents.records import RequestRecord, SessionRecord
from agents.traces.load import ClosedTrace, load_trace
from agents.transformer.config import TINY
from testbed.errors import ProgramError
from testbed.fidelity.window import opening_s

_REPORT_PERIOD_S = 0.25
_STALL_LIMIT_S = 60.0  # without the end of any request, beyond what decoding takes
_MEAN_OF_TURNS = 256


class Client(Process):
    """One client for all agents."""

    def __init__(self, name: str, cluster: Cluster) -> None:
        super().__init__(name, cluster)
        load = cluster.load
        trace = load_trace(load.trace)
        self._tokens: TokenSessions | None = None
        if cluster.kv == "transformer":
            assert isinstance(trace, ClosedTrace)  # the scenario's validator saw to it
            self._tokens = TokenSessions(trace.source, TINY, cluster.seed)
            trace = ClosedTrace(self._tokens)
        self._replay = make_replay(
            trace,
            agents=load.agents,
            seed=cluster.seed,
            start=load.start,
            arrivals=load.arrivals,
            steady=load.steady,
            endless=load.endless,
        )
        self._prefixes = list(self._replay.prefixes())
        self._submitted: dict[int, tuple[Submission, float]] = {}
        self._turn_times_s: deque[float] = deque(maxlen=_MEAN_OF_TURNS)
        self._woken = asyncio.Event()
        self._idle_served = asyncio.Event()
        self._phase = "lay-down"
        self._done = 0
        self._failed = 0
        self._offering = True
        self._last_done_s = 0.0
        self._open_s: float | None = None
        self._close_s: float | None = None

    async def connect(self) -> None:
        """Lay the agents' prefixes down in storage, before anything is measured."""
        self.spawn(self._lead())

    def handle(self, sender: str, message: Message) -> None:
        """A control message has arrived."""
        match message:
            case Done():
                self._completed(message)
            case LaidDown():
                self.answer("laid-down", message.number, message)
            case _:
                raise TypeError(f"{self.name} cannot handle {message}")

    def away(self, error: PeerLost) -> None:
        """As `Process`; the loss of a scheduler is recorded."""
        super().away(error)
        if error.peer == SCHEDULER:
            self.event("scheduler-lost", 0, f"{len(self._submitted)} requests are under way")

    def lose(self, node: str) -> None:
        """As `Process`; when nobody is left to serve, nothing more is asked for: the run ends."""
        super().lose(node)
        role = bereft(self.lost, self.cluster.prefill, self.cluster.decode)
        if role and self._offering:
            self.event("nothing-left", 0, f"no {role} node is left, nothing more is submitted")
            self._offering = False
            self._woken.set()

    def back(self, peer: str) -> None:
        """Another scheduler: submit again what the one before has not answered."""
        self.event("scheduler-back", 0, f"{len(self._submitted)} requests are submitted again")
        for submission, submitted_s in self._submitted.values():
            self._send(submission, submitted_s)

    # --- the run -------------------------------------------------------------------------

    async def _lead(self) -> None:
        await self.started.wait()
        await self._lay_down()
        if self.cluster.idle_request and self._prefixes:
            await self._serve_idle()
        load = self.cluster.load
        loop = asyncio.get_running_loop()
        began_s = time.monotonic()
        self._phase = "warm-up"
        self._replay.start(began_s)
        offer = loop.create_task(self._offer())
        self.spawn(self._provoke(began_s))
        while self._open_s is None or time.monotonic() < self._open_s + load.window_s:
            await asyncio.sleep(_REPORT_PERIOD_S)
            if offer.done():
                break  # a trace or its servers have come to their end, or it has failed: see below
            now_s = time.monotonic()
            if self._open_s is None and len(self._turn_times_s) >= min(load.agents, _MEAN_OF_TURNS):
                mean_s = float(np.mean(self._turn_times_s))
                opens_s = opening_s(began_s, mean_s, load.least_warmup_s, load.warmup_turns)
                if now_s >= opens_s:
                    self._open_s = now_s
                    self._phase = "measure"
            self._report(None if self._open_s is None else self._open_s + load.window_s - now_s)
        self._close_s = time.monotonic()
        self._offering = False
        self._woken.set()
        await offer
        await self._drain()
        say(
            event="finished",
            began_s=began_s,
            open_s=self._open_s,
            close_s=self._close_s,
            done=self._done,
            failed=self._failed,
        )

    async def _provoke(self, began_s: float) -> None:
        """Have the scenario's faults happen, each at its time."""
        for step in self.cluster.faults:
            await asyncio.sleep(began_s + step.at_s - time.monotonic())
            if step.action in OF_PROCESSES:
                say(event="provoke", action=step.action, program=step.target)
            else:
                self.mesh.send(step.target, Provoke(step.action, step.share))

    async def _drain(self) -> None:
        """Wait for what is under way, as long as some of it ends now and then."""
        self._phase = "drain"
        tokens = max((s.turn.generate_tokens for s, _ in self._submitted.values()), default=0)
        tpot_s = self.cluster.compute.tpot_s if self.cluster.engines == "modelled" else 0.0
        limit_s = _STALL_LIMIT_S + tokens * tpot_s
        self._last_done_s = time.monotonic()
        while self._replay.outstanding:
            self._report(None)
            await asyncio.sleep(_REPORT_PERIOD_S)
            if time.monotonic() > self._last_done_s + limit_s:
                raise ProgramError(
                    f"{self._replay.outstanding} requests did not end, and none has for "
                    f"{limit_s:.0f}s: {sorted(self._submitted)[:8]}"
                )

    def _report(self, left_s: float | None) -> None:
        say(
            event="progress",
            phase=self._phase,
            done=self._done,
            failed=self._failed,
            outstanding=self._replay.outstanding,
            left_s=left_s,
            open_s=self._open_s,
            close_s=self._close_s,
        )

    async def _lay_down(self) -> None:
        """Warm start: every agent's prefix becomes real, digested blocks; no link is crossed."""
        placement = self.cluster.placement()
        runs = [(prefix, run) for prefix in self._prefixes for run in placement.runs(prefix)]
        evicted = 0
        for number, (prefix, (storage, first, count)) in enumerate(runs):
            answer = self.replies.expect("laid-down", number)
            parent = int(prefix[first - 1]) if first else None
            blocks = prefix[first : first + count].astype("<u8").tobytes()
            self.mesh.send(storage, LayDown(number, blocks, parent))
            reply = await answer
            assert isinstance(reply, LaidDown)
            if reply.error:
                raise ProgramError(f"{storage} could not be warmed up: {reply.error}")
            evicted += reply.evicted
        if evicted:
            self.event(
                "warm-start-evicted",
                0,
                f"{evicted} blocks of the warm start had to go for later ones: "
                "storage.capacity is less than the agents' prefixes take",
            )

    async def _serve_idle(self) -> None:
        """One request alone: what it takes beyond its bytes and its compute is overhead."""
        self._phase = "idle-request"
        self._report(None)
        block_tokens = self.cluster.layout.block_tokens
        self._submit(idle_submission(self._prefixes, block_tokens, time.monotonic()))
        try:
            await asyncio.wait_for(self._idle_served.wait(), _STALL_LIMIT_S)
        except TimeoutError:
            raise ProgramError(
                f"one request alone on the idle cluster did not end within {_STALL_LIMIT_S:.0f}s"
            ) from None

    async def _offer(self) -> None:
        """Submit what is due, until the window has closed or the trace has ended."""
        while self._offering:
            for submission in self._replay.due(time.monotonic()):
                self._submit(submission)
            next_s = self._replay.next_due_s()
            if next_s is None and not self._replay.outstanding:
                return
            wait_s = None if next_s is None else max(0.0, next_s - time.monotonic())
            self._woken.clear()
            try:
                await asyncio.wait_for(self._woken.wait(), wait_s)
            except TimeoutError:
                continue

    def _submit(self, submission: Submission) -> None:
        now_s = time.monotonic()
        self._submitted[submission.request] = (submission, now_s)
        self._send(submission, now_s)

    def _send(self, submission: Submission, submitted_s: float) -> None:
        turn = submission.turn
        self.mesh.send(
            SCHEDULER,
            Submit(
                submission.request,
                submission.agent,
                submission.session,
                submission.turn_index,
                turn.prompt_tokens,
                turn.generate_tokens,
                turn.hashes.astype("<u8").tobytes(),
                submitted_s,
                self._prompt(submission),
            ),
        )

    def _prompt(self, submission: Submission) -> bytes:
        """The ids of a prompt, if there are any."""
        if self._tokens is None:
            return b""
        return self._tokens.prompt(submission.session, submission.turn_index)

    def _compared(self, submission: Submission, done: Done) -> Done:
        """The same, with an error if one process finds anything else."""
        if self._tokens is None or done.error:
            return done
        wrong = self._tokens.wrong(
            submission.session, submission.turn_index, done.hit_tokens, done.proof
        )
        if not wrong:
            return done
        self.event("wrong-tokens", done.request, wrong)
        return msgspec.structs.replace(done, error=wrong, verified_bytes=0)

    def _completed(self, done: Done) -> None:
        now_s = time.monotonic()
        if done.request not in self._submitted:  # no scheduler may answer what another has
            self.event("done-twice", done.request, done.error)
            return
        submission, submitted_s = self._submitted.pop(done.request)
        done = self._compared(submission, done)
        self._done += 1
        self._last_done_s = now_s
        self._failed += bool(done.error)
        self.records.append(_record(submission, submitted_s, done))
        if done.request == IDLE_REQUEST:
            self._idle_served.set()
            return
        self._turn_times_s.append(now_s - submitted_s)
        ended = self._replay.completed(done.request, now_s)
        if ended is not None:
            if self._tokens is not None:
                self._tokens.forget(ended.session)
            self.records.append(
                SessionRecord(
                    ended.agent,
                    ended.session,
                    ended.start_s,
                    ended.end_s,
                    ended.turns,
                    ended.from_first_turn,
                )
            )
        self._woken.set()


def _record(submission: Submission, submitted_s: float, done: Done) -> RequestRecord:
    return RequestRecord(
        request=done.request,
        agent=submission.agent,
        session=submission.session,
        turn=submission.turn_index,
        attempts=done.attempts,
        served_as=done.served_as,
        path=done.path,
        prefill=done.prefill,
        decode=done.decode,
        prompt_tokens=submission.turn.prompt_tokens,
        hit_tokens=done.hit_tokens,
        generate_tokens=submission.turn.generate_tokens,
        t_submit=submitted_s,
        t_scheduled=done.t_scheduled,
        t_allocated=done.t_allocated,
        t_read_start=done.t_read_start,
        t_read_end=done.t_read_end,
        t_prefill_start=done.t_prefill_start,
        t_first_token=done.t_first_token,
        t_decode_start=done.t_decode_start,
        t_second_token=done.t_second_token,
        t_decode_end=done.t_decode_end,
        t_done=done.t_done,
        stall_s=sum(done.stalls_s),
        stalls_s=done.stalls_s,
        read_bytes=done.read_bytes,
        written_bytes=done.written_bytes,
        verified_bytes=done.verified_bytes,
        error=done.error,
        reloaded_bytes=done.reloaded_bytes,
    )


if __name__ == "__main__":
    main(Client)
