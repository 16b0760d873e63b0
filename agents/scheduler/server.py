"""The scheduler's process: asks storage for hits, places a request, picks its read path."""

from __future__ import annotations

import time

import numpy as np

from agents.cluster import Cluster
from agents.control import (
    Assign,
    Done,
    Engine,
    LookupReply,
    Message,
    ReadFinished,
    Segment,
    Submit,
)
from agents.process import Process, main
from agents.scheduler.lookup import StorageLookup
from agents.scheduler.placement import LeastTokens
from agents.scheduler.policies import NodeView, RequestView, load_policy

CLIENT = "client"


class Scheduler(Process):
    """One scheduler for the cluster."""

    def __init__(self, name: str, cluster: Cluster) -> None:
        super().__init__(name, cluster)
        self._lookup = StorageLookup(self, cluster.placement())
        self._policy = load_policy(cluster.policy, seed=cluster.seed)
        rails = range(cluster.rails)
        self._prefill = LeastTokens([(node, k) for node in cluster.prefill for k in rails])
        self._decode = LeastTokens([(node, k) for node in cluster.decode for k in rails])
        self._read_queue_tokens = dict.fromkeys([*cluster.prefill, *cluster.decode], 0)
        self._read_queue_requests = dict.fromkeys([*cluster.prefill, *cluster.decode], 0)
        self._assigned: dict[int, Assign] = {}
        self._reading: dict[tuple[int, str], int] = {}  # tokens of a request on a node

    def handle(self, sender: str, message: Message) -> None:
        """A control message has arrived."""
        match message:
            case Submit():
                self.spawn(self._schedule(message))
            case LookupReply():
                self._lookup.answered(sender, message)
            case ReadFinished():
                self._read_finished(message.request, message.node)
            case Done():
                self._finished(message)
            case _:
                raise TypeError(f"{self.name} cannot handle {message}")

    async def _schedule(self, submit: Submit) -> None:
        block = self.cluster.block_tokens
        # At least one token is computed, or prefill would have nothing to attend with.
        candidates = (submit.prompt_tokens - 1) // block
        hashes = np.frombuffer(submit.hashes, "<u8", count=candidates)
        hits = await self._lookup.hits(submit.request, hashes)
        prefill = self._prefill.place(submit.request, submit.prompt_tokens)
        decode = self._decode.place(submit.request, submit.prompt_tokens + submit.generate_tokens)
        segments = []
        if hits:
            tokens = sum(run.blocks for run in hits) * block
            view = RequestView(submit.request, submit.prompt_tokens, tokens)
            side = self._policy.choose(view, self._view(prefill[0]), self._view(decode[0]))
            segments = [Segment(side, *run) for run in hits]
            node = prefill[0] if side == "pe" else decode[0]
            self._read_queue_tokens[node] += tokens
            self._read_queue_requests[node] += 1
            self._reading[submit.request, node] = tokens
        job = Assign(
            submit.request,
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
        self._assigned[submit.request] = job
        self.mesh.send(decode[0], job)

    def _view(self, node: str) -> NodeView:
        return NodeView(node, self._read_queue_tokens[node], self._read_queue_requests[node])

    def _read_finished(self, request: int, node: str) -> None:
        tokens = self._reading.pop((request, node), None)
        if tokens is not None:
            self._read_queue_tokens[node] -= tokens
            self._read_queue_requests[node] -= 1

    def _finished(self, done: Done) -> None:
        job = self._assigned.pop(done.request)
        for node in (job.prefill.node, job.decode.node):
            self._read_finished(done.request, node)  # it may have failed before it could read
        self._prefill.finish(done.request)
        self._decode.finish(done.request)
        self.mesh.send(CLIENT, done)


if __name__ == "__main__":
    main(Scheduler)
