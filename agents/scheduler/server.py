"""The scheduler's process: asks storage for hits, places a request, picks its read path."""

from __future__ import annotations

import time
from typing import NamedTuple

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
    Side,
    Submit,
)
from agents.engines.geometry import Geometry
from agents.process import Process, main
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


class Waiting(NamedTuple):
    """A request that has no engines yet, and what storage has of it."""

    submit: Submit
    hits: list[Run]


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
        self._waiting: dict[int, Waiting] = {}
        self._assigned: dict[int, Assign] = {}

    def handle(self, sender: str, message: Message) -> None:
        """A control message has arrived."""
        match message:
            case Submit():
                self.spawn(self._admit(message))
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

    async def _admit(self, submit: Submit) -> None:
        """Ask storage what it has of a request, and let it wait for its engines."""
        # At least one token is computed, or prefill would have nothing to attend with.
        candidates = (submit.prompt_tokens - 1) // self.cluster.block_tokens
        hashes = np.frombuffer(submit.hashes, "<u8", count=candidates)
        hits = await self._lookup.hits(submit.request, hashes)
        ask = self._ask(submit)
        if ask.hbm_bytes > self.cluster.buffers.hbm:  # it would wait for ever, and all behind it
            reason = (
                f"{show_size(ask.hbm_bytes)} of KV, more than the "
                f"{show_size(self.cluster.buffers.hbm)} of HBM that a decode engine has"
            )
            self.event("request-rejected", submit.request, reason)
            self.mesh.send(CLIENT, Done(submit.request, error=f"rejected: {reason}"))
            return
        self._waiting[submit.request] = Waiting(submit, hits)
        self._assign(self._placement.submit(ask))

    def _ask(self, submit: Submit) -> Ask:
        geometry = Geometry(
            self.cluster.layout,
            self.cluster.layers_per_transfer,
            submit.prompt_tokens,
            submit.generate_tokens,
            0,
            0,
        )
        tokens = submit.prompt_tokens + submit.generate_tokens
        return Ask(submit.request, submit.prompt_tokens, tokens, geometry.hbm_bytes)

    def _assign(self, placed: list[Placed]) -> None:
        """Requests have both engines: choose where they are read, and send them off."""
        for request, prefill, decode in placed:
            submit, hits = self._waiting.pop(request)
            segments = []
            if hits:
                block = self.cluster.block_tokens
                blocks = sum(run.blocks for run in hits)
                peer = self._peer(submit, blocks, decode[0])
                asked = RequestView(
                    request,
                    submit.prompt_tokens,
                    blocks * block,
                    block,
                    peer.node,
                    peer.blocks * block,
                )
                views = self._view(prefill[0]), self._view(decode[0])
                choice = self._policy.choose(asked, *views)
                self._predictions.foresee(asked, *views, choice)
                segments = segments_of(choice, hits, peer)
            job = Assign(
                request,
                segments,
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

    def _peer(self, submit: Submit, hits: int, decode: str) -> Peer:
        """Whose cache has most of the hit blocks."""
        if not self.cluster.cache_bytes:
            return NOBODY
        hashes = np.frombuffer(submit.hashes, "<u8", count=hits)
        return self._directory.longest(hashes.tolist(), decode)

    def _view(self, node: str) -> NodeView:
        return NodeView(node, *self._placement.read_queue(node), self._rates.of(node))

    def _finished(self, done: Done) -> None:
        del self._assigned[done.request]
        self._placement.ended(done.request)
        if (prediction := self._predictions.ended(done)) is not None:
            self.records.append(prediction)
        self.mesh.send(CLIENT, done)


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
