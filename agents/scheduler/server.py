"""The scheduler's process: asks storage for hits, places a request, picks its read path."""

from __future__ import annotations

import asyncio
import time

import msgspec
import numpy as np

from agents.cluster import CLIENT, Cluster
from agents.control.mesh import PeerLost
from agents.control.messages import (
    Assign,
    Cached,
    Done,
    Engine,
    Fetch,
    LookupReply,
    Measured,
    Message,
    NodeLost,
    Ping,
    Pong,
    ReadFinished,
    Serving,
    Submit,
)
from agents.engines.geometry import Geometry
from agents.loss import NodeGone
from agents.numbers import MOST_ATTEMPTS, attempt_of, turn_of
from agents.process import Process, main
from agents.read_path import Segment, Side
from agents.scheduler.attempts import Attempts
from agents.scheduler.directory import NOBODY, CacheDirectory, Peer
from agents.scheduler.found import Found
from agents.scheduler.liveness import Liveness, limit_s
from agents.scheduler.lookup import StorageLookup
from agents.scheduler.placement import AtOnce, Placed, Placement
from agents.scheduler.policies import load_policy
from agents.scheduler.predictions import Predictions
from agents.scheduler.pull import PullScheduler
from agents.scheduler.rates import RecentRates, line_rates
from agents.scheduler.segments import segments_of
from agents.scheduler.state import Ask
from agents.scheduler.views import NodeView, RequestView
from agents.storage.placement import Run
from testbed.errors import ProgramError
from testbed.units import show_duration, show_size


class Scheduler(Process):
    """One scheduler for the cluster."""

    def __init__(self, name: str, cluster: Cluster) -> None:
        super().__init__(name, cluster)
        self._engine_nodes = [*cluster.prefill, *cluster.decode]
        self._lookup = StorageLookup(self, cluster.placement())
        self._policy = load_policy(cluster.policy, seed=cluster.seed)
        self._placement = placement_of(cluster)
        token_bytes = cluster.layout.full_block_bytes / cluster.block_tokens
        self._rates = RecentRates(
            token_bytes, line_rates(cluster.snic_bps, cluster.cnic_bps, token_bytes)
        )
        self._predictions = Predictions()
        self._directory = CacheDirectory(cluster.decode)
        # Tries of an earlier scheduler may still end somewhere.
        first = 1 + cluster.incarnation * MOST_ATTEMPTS
        self._attempts = Attempts(cluster.scheduling.attempts, first)
        self._found = Found([name, *self._engine_nodes] if cluster.incarnation else [])
        self._hits: dict[int, list[Run]] = {}  # of those that have no engines yet
        self._assigned: dict[int, Assign] = {}
        self._silent_after_s = limit_s(cluster.silent_after_s, faults=bool(cluster.faults))
        self._liveness = Liveness([*self._engine_nodes, *cluster.storage], self._silent_after_s)

    async def connect(self) -> None:
        """Listen for nodes that fall silent."""
        self._found.reported(self.name, [])  # everybody can be asked now
        self.spawn(self._watch())

    def handle(self, sender: str, message: Message) -> None:
        """A control message has arrived."""
        self._liveness.heard(sender)
        match message:
            case Submit():
                self.spawn(self._submitted(message))
            case LookupReply():
                self._lookup.answered(sender, message)
            case Fetch():
                self._assign(self._placement.fetch(message.report))
            case ReadFinished():
                self._placement.read_finished(message.request, message.node)
            case Cached():
                added, dropped = (
                    np.frombuffer(blocks, "<u8").tolist()
                    for blocks in (message.added, message.dropped)
                )
                self._directory.changed(message.node, added, dropped)
            case Measured():
                self._rates.measured(message.node, message.carried)
            case Done():
                if not self._found.ended(message):  # else it waits for its turn to come again
                    self._finished(message)
            case Serving():
                for node in set(message.lost) - self.lost:
                    self._exclude(node)
                self._found.reported(message.node, message.jobs)
            case Pong():
                pass
            case _:
                raise TypeError(f"{self.name} cannot handle {message}")

    async def _submitted(self, submit: Submit) -> None:
        """A turn has come, perhaps again: engines may have it from an earlier scheduler."""
        await self._found.all_reported.wait()
        job, ended = self._found.take(submit.request)
        if job is None:
            await self._admit(self._attempts.submit(submit))
            return
        self._attempts.adopt(submit, job.request)
        prefill, decode = ((engine.node, engine.rail) for engine in (job.prefill, job.decode))
        self._placement.adopt(self._ask(job.request, submit)[0], prefill, decode)
        self._assigned[job.request] = job
        if ended is not None:
            self._finished(ended)

    async def _admit(self, request: int) -> None:
        """Ask storage what it has of a request, and let it wait for its engines."""
        submit = self._attempts.submitted(request)
        ask, too_long = self._ask(request, submit)
        if too_long:  # it would wait for ever, and all behind it
            self.event("request-rejected", submit.request, too_long)
            self._answer(Done(request, error=f"rejected: {too_long}"))
            return
        hits: list[Run] = []
        if self._attempts.may_read(request):
            # At least one token is computed, or prefill would have nothing to attend with.
            candidates = (submit.prompt_tokens - 1) // self.cluster.block_tokens
            hashes = np.frombuffer(submit.hashes, "<u8", count=candidates)
            hits = await self._lookup.hits(request, hashes)
        if self._placement.bereft:
            self._reject(request)
            return
        self._hits[request] = hits
        self._assign(self._placement.submit(ask))

    def _ask(self, request: int, submit: Submit) -> tuple[Ask, str]:
        """What a request asks of engines, and why none can give it, if none can."""
        cluster = self.cluster
        geometry = Geometry(
            cluster.layout,
            cluster.layers_per_transfer,
            submit.prompt_tokens,
            submit.generate_tokens,
            0,
            0,
        )
        tokens = submit.prompt_tokens + submit.generate_tokens
        ask = Ask(request, submit.prompt_tokens, tokens, geometry.hbm_bytes)
        for role, needed, there in (
            ("decode", geometry.hbm_bytes, cluster.buffers.hbm),
            ("prefill", cluster.slots * geometry.slot_bytes, cluster.buffers.prefill_hbm),
        ):
            if needed > there:
                return ask, (
                    f"{show_size(needed)} of KV, more than the {show_size(there)} of HBM that a "
                    f"{role} engine has"
                )
        return ask, ""

    def _assign(self, placed: list[Placed]) -> None:
        """Requests have both engines: choose where they are read, and send them off."""
        for request, prefill, decode in placed:
            submit = self._attempts.submitted(request)
            self._attempts.begin(request)
            hits = self._hits.pop(request)
            job = Assign(
                request,
                self._segments(request, hits, prefill[0], decode[0]) if hits else [],
                submit.prompt_tokens,
                submit.generate_tokens,
                submit.hashes,
                Engine(*prefill),
                Engine(*decode),
                submit.t_submit,
                time.monotonic(),
                tokens=submit.tokens,
            )
            readers: dict[Side, str] = {"pe": prefill[0], "de": decode[0]}
            for side, node in readers.items():
                if blocks := job.blocks(side):
                    self._placement.reading(request, node, blocks * self.cluster.block_tokens)
            self._assigned[request] = job
            self.mesh.send(decode[0], job)

    def _segments(self, request: int, hits: list[Run], prefill: str, decode: str) -> list[Segment]:
        """Where the hit blocks are read: the policy says so, unless a side could not read."""
        submit = self._attempts.submitted(request)
        blocks = sum(run.blocks for run in hits)
        side = self._attempts.side(request, blocks)
        if side is not None:
            reader = {"pe": prefill, "de": decode}[side]
            self.event("read-elsewhere", submit.request, f"{blocks} blocks by {reader}")
            return segments_of(side, hits)
        peer = self._peer(submit, blocks, decode)
        tokens = self.cluster.block_tokens
        asked = RequestView(
            request,
            submit.prompt_tokens,
            blocks * tokens,
            tokens,
            peer.node,
            peer.blocks * tokens,
        )
        views = self._view(prefill), self._view(decode)
        choice = self._policy.choose(asked, *views)
        self._predictions.foresee(asked, *views, choice)
        return segments_of(choice, hits, peer)

    def _peer(self, submit: Submit, hits: int, decode: str) -> Peer:
        """Whose cache has most of the hit blocks."""
        if not self.cluster.cache_bytes:
            return NOBODY
        hashes = np.frombuffer(submit.hashes, "<u8", count=hits)
        return self._directory.longest(hashes.tolist(), decode)

    def _view(self, node: str) -> NodeView:
        return NodeView(node, *self._placement.read_queue(node), self._rates.of(node))

    def _finished(self, done: Done) -> None:
        """A try has ended: another one follows, or the client has its answer."""
        job = self._assigned.pop(done.request)
        self._placement.ended(done.request)
        if (prediction := self._predictions.ended(done)) is not None:
            turn = turn_of(prediction.request)
            self.records.append(msgspec.structs.replace(prediction, request=turn))
        if done.retry and self._placement.bereft:
            self._reject(done.request)
            return
        if done.error:
            hits = sum(segment.count for segment in job.segments)
            again = self._attempts.failed(
                done.request, done.retry, side=done.failed_side, hits=hits
            )
            if again is not None:
                nth = (attempt_of(again) - 1) % MOST_ATTEMPTS + 1
                what = f"try {nth} of {self._attempts.limit} follows: {done.error}"
                self.event("request-retried", turn_of(again), what)
                self.spawn(self._admit(again))
                return
        self._answer(done)

    # --- nodes that are lost ---------------------------------------------------------------

    async def _watch(self) -> None:
        """Ask who does not report by himself, and declare lost whoever is silent for too long."""
        await self.started.wait()
        reports = self.cluster.scheduling.placement == "adaptive"
        asked = [*self.cluster.storage, *([] if reports else self._engine_nodes)]
        loop = asyncio.get_running_loop()
        while not self.mesh.closing:
            for node in asked:
                self.mesh.send(node, Ping())
            for node in self._liveness.tick(loop.time()):
                self._declare(node, f"not a word for {show_duration(self._silent_after_s)}")
            await asyncio.sleep(self._liveness.period_s)

    def away(self, error: PeerLost) -> None:
        """A process that has closed its connection is no more: there is no silence to wait for."""
        if error.peer in self.cluster.control and error.peer != CLIENT:
            self._declare(error.peer, error.message)
        else:
            super().away(error)

    def _declare(self, node: str, why: str) -> None:
        """A node is lost: everybody closes its connections to it, and others do its work.

        Raises:
            ProgramError: nothing was to go wrong in this run.
        """
        if node in self.lost:
            return
        if not self.cluster.faults:
            raise ProgramError(
                f"{node} has stopped answering: {why}",
                hint="if nobody has stopped its process, the machine is overloaded: choose a "
                "larger scale.rate; a run that is to survive losses has a section `faults`",
            )
        self.event("node-lost", 0, f"{node}: {why}")
        for peer in self.cluster.control:
            if peer not in (self.name, node):
                self.mesh.send(peer, NodeLost(node))
        self._exclude(node)

    def _exclude(self, node: str) -> None:
        """Nothing is asked of a lost node any more; what it had is tried again elsewhere."""
        self.lose(node)
        self._found.lose(node)
        self._liveness.lose(node)
        self._lookup.lose(node)
        self._directory.lose(node)
        if node in self._engine_nodes:
            self._placement.lose(node)
        # A decode node says of each of its requests what became of it, if it is there to say so.
        for job in [job for job in self._assigned.values() if job.decode.node == node]:
            self._finished(Done(job.request, error=str(NodeGone(node)), retry="elsewhere"))
        if self._placement.bereft:
            for request in list(self._hits):
                del self._hits[request]
                self._reject(request)

    def _reject(self, request: int) -> None:
        """Nobody is left who could serve a request."""
        reason = f"no {self._placement.bereft} node is left"
        self.event("request-rejected", turn_of(request), reason)
        self._answer(Done(request, error=f"rejected: {reason}"))

    def _answer(self, done: Done) -> None:
        """A turn has come to its end."""
        submit, attempts = self._attempts.end(done.request)
        answer = msgspec.structs.replace(
            done, request=submit.request, attempts=attempts, served_as=done.request
        )
        self.mesh.send(CLIENT, answer)


def placement_of(cluster: Cluster) -> Placement:
    """The placement that a run asks for."""
    told = cluster.scheduling
    if told.placement != "adaptive":
        by_tokens = told.placement == "least-tokens"
        return AtOnce(cluster.prefill, cluster.decode, cluster.rails, by_tokens=by_tokens)
    return PullScheduler(
        cluster.prefill,
        cluster.decode,
        cluster.rails,
        alpha_tokens=told.alpha_tokens,
        beta_tokens=told.beta_tokens,
        unreported=told.unreported,
        free_hbm=told.free_hbm,
        ties=told.ties,
        seed=cluster.seed,
        scope=told.prefill_scope,
    )


if __name__ == "__main__":
    main(Scheduler)
