"""The scheduler's process: asks storage for hits, places a request, picks its read path."""

from __future__ import annotations

import time

import msgspec
import numpy as np

from agents.cluster import Cluster
from agents.control import (
    Assign,
    Cached,
    Done,
    Engine,
    Fetch,
    LookupReply,
    Measured,
    Message,
    ReadFinished,
    Segment,
    Side,
    Submit,
)
from agents.engines.geometry import Geometry
from agents.numbers import attempt_of, turn_of
from agents.process import Process, main
from agents.scheduler.attempts import Attempts
from agents.scheduler.directory import NOBODY, CacheDirectory, Peer
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
from testbed.units import show_size

CLIENT = "client"


class Scheduler(Process):
    """One scheduler for the cluster."""

    def __init__(self, name: str, cluster: Cluster) -> None:
        super().__init__(name, cluster)
        self._lookup = StorageLookup(self, cluster.placement())
        self._policy = load_policy(cluster.policy, seed=cluster.seed)
        self._placement = placement_of(cluster)
        token_bytes = cluster.layout.full_block_bytes / cluster.block_tokens
        self._rates = RecentRates(
            token_bytes, line_rates(cluster.snic_bps, cluster.cnic_bps, token_bytes)
        )
        self._predictions = Predictions()
        self._directory = CacheDirectory(cluster.decode)
        self._attempts = Attempts(cluster.scheduling.attempts)
        self._hits: dict[int, list[Run]] = {}  # of those that have no engines yet
        self._assigned: dict[int, Assign] = {}

    def handle(self, sender: str, message: Message) -> None:
        """A control message has arrived."""
        match message:
            case Submit():
                self.spawn(self._admit(self._attempts.submit(message)))
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
                self._finished(message)
            case _:
                raise TypeError(f"{self.name} cannot handle {message}")

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
        if done.error:
            hits = sum(segment.count for segment in job.segments)
            again = self._attempts.failed(
                done.request, done.retry, side=done.failed_side, hits=hits
            )
            if again is not None:
                what = f"try {attempt_of(again)} of {self._attempts.limit} follows: {done.error}"
                self.event("request-retried", turn_of(again), what)
                self.spawn(self._admit(again))
                return
        self._answer(done)

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
