"""What prefill and decode nodes share: memory, queue pairs, reads from storage, engines' HBM."""

from __future__ import annotations

import asyncio
import functools
import socket
import time
from typing import NamedTuple

import numpy as np

from agents.blocks.arena import Arena, Extent
from agents.blocks.digests import first_wrong
from agents.blocks.maker import Prompt
from agents.cluster import SCHEDULER, Cluster
from agents.connections import call, listen
from agents.control.messages import (
    Assign,
    Fetch,
    Inboxes,
    Measured,
    Read,
    ReadDone,
    ReadFailed,
    ReadFinished,
    Serving,
)
from agents.engines.account import Account
from agents.engines.execution import ModelExecution, NoTraffic
from agents.engines.geometry import Geometry
from agents.engines.leader import Leader
from agents.engines.makers import kv_maker
from agents.engines.meters import Meters
from agents.incoming import WrongBytes
from agents.ports import Ports
from agents.process import Process
from agents.read_path import Side
from agents.traffic.execution import Collectives
from agents.wire.immediates import Immediate, Kind
from agents.wire.transport import Received
from testbed.errors import ProgramError
from testbed.sandbox.sockets import Broker


class ReadError(Exception):
    """Storage could not give the blocks that were asked for; the message says why."""


class ReadTimes(NamedTuple):
    """When a storage read left the read queue, and when its last byte had been checked."""

    start_s: float
    end_s: float


class Node(Process):
    """One process that serves a node's DRAM domain and its HBM domains.

    Args:
        name: the node, e.g. "pe0".
        cluster: the run.
    """

    def __init__(self, name: str, cluster: Cluster) -> None:
        super().__init__(name, cluster)
        self.layout = cluster.layout
        self.ports = Ports(
            self, cluster.write_bytes, batched=cluster.batched, submission=cluster.submission
        )
        self.staging = Arena(cluster.buffers.staging, f"{name} staging")
        self.staging_key = self.ports.register(self.staging.memory)
        sizes = cluster.buffers
        hbm_bytes = sizes.prefill_hbm if name in cluster.prefill else sizes.hbm
        self.hbm = [Arena(hbm_bytes, f"{name}g{k} HBM") for k in range(cluster.rails)]
        self.hbm_keys = [self.ports.register(arena.memory) for arena in self.hbm]
        self.maker = kv_maker(cluster)
        self.meters = Meters(time.monotonic)
        self._read_window = asyncio.Semaphore(cluster.read_window)
        scheduling = cluster.scheduling
        self._pulls = scheduling.placement == "adaptive"
        self.account = Account(
            name,
            cluster.rails,
            by_bytes=scheduling.read_queue_falls == "bytes",
            reports=self._pulls,
        )
        self.ports.watch(Kind.STORAGE_READ, self._read_arrived)
        self._broker = Broker.from_environment()
        self.collectives = self._model_execution()
        self.execution: ModelExecution = self.collectives or NoTraffic()

    def _model_execution(self) -> Collectives | None:
        """Model execution among the engines of this node's role, if it is emulated."""
        cluster = self.cluster
        if cluster.execution is None:
            return None
        role, nodes = "prefill", cluster.prefill
        if self.name in cluster.decode:
            role, nodes = "decode", cluster.decode
        return Collectives(
            self.ports,
            self.records.append,
            cluster.execution,
            role=role,
            nodes=nodes,
            own=self.name,
            rails=cluster.rails,
        )

    # --- connections -------------------------------------------------------------------

    def listen(self) -> None:
        """Accept queue pairs on every port of the DRAM domain, and of the HBM domains."""
        listen(self.ports)
        if self.collectives is not None:
            self.collectives.listen(self._broker)

    async def connect(self) -> None:
        """Call storage over the SNIC, and the own CNICs from every HBM domain (the loopback)."""
        own = self.cluster.addresses
        for storage in self.cluster.storage:
            local = socket.socket()
            local.bind((own[self.name]["snic0"], 0))
            call(self.ports, local, own[storage]["snic0"], self.name, storage, "snic0")
        for rail in range(self.cluster.rails):
            targets = self.callees(rail)
            domain = f"{self.name}g{rail}"
            for local, (node, port) in zip(
                self._broker.sockets(domain, len(targets)), targets, strict=True
            ):
                device = f"cnic{port}" if node != self.name else self.cluster.local_device(port)
                call(self.ports, local, own[node][device], domain, node, device)
        collectives = 0
        if self.collectives is not None:
            self.collectives.call(self._broker, own)
            collectives = self.collectives.pair_count()
        await self.ports.connected(self.pair_count() + collectives)
        if self.collectives is not None:
            await self.collectives.meet(lambda node, keys: self.mesh.send(node, Inboxes(keys)))
        self.spawn(self.ports.watch_round_trips())
        if self._pulls:
            self.spawn(self._lead())

    def met(self, node: str, keys: list[int]) -> None:
        """Another node of the role has said where its engines' inboxes are."""
        if self.collectives is None:
            raise ProgramError(f"{self.name} has no model execution, and {node} has")
        self.collectives.met(node, keys)

    def callees(self, rail: int) -> list[tuple[str, int]]:
        """(node, CNIC) pairs that engine `rail` calls; always its own CNIC's loopback."""
        return [(self.name, rail)]

    def pair_count(self) -> int:
        """Queue pairs of this process when all are up (a loopback has two ends here)."""
        return len(self.cluster.storage) + 2 * self.cluster.rails

    # --- the scheduler -------------------------------------------------------------------

    async def _lead(self) -> None:
        """Fetch work for this node's engines, from the start of the run on."""
        groups = [*self.cluster.prefill, *self.cluster.decode]
        await self.started.wait()
        await Leader(
            lambda: self.account.report([hbm.free_bytes for hbm in self.hbm]),
            self._fetch,
            period_s=self.cluster.scheduling.fetch_period_s,
            phase=groups.index(self.name) / len(groups),
        ).lead()

    def _fetch(self, fetch: Fetch) -> None:
        if not self.mesh.closing:
            self.mesh.send(SCHEDULER, fetch)

    def taken(self, job: Assign, side: Side) -> None:
        """This node's engine of a request has it: in the account until it ends.

        Args:
            side: this node's.
        """
        geometry = self.geometry(job)
        if side == "pe":
            self.account.take(job.request, job.prefill.rail, job.prompt_tokens)
        else:
            tokens = job.prompt_tokens + job.generate_tokens
            self.account.take(job.request, job.decode.rail, tokens, geometry.hbm_bytes)
        if blocks := job.blocks(side):
            tokens = blocks * self.layout.block_tokens
            self.account.queue_read(job.request, tokens, blocks * self.layout.full_block_bytes)

    def _read_arrived(self, what: Immediate, received: Received) -> None:
        self.account.read_arrived(what.number, received.length)
        self.meters.carried("read", received.length)

    def read_ended(self, request: int) -> None:
        """A read of this node has left the read queue."""
        self.account.end_read(request)
        self.tell_rates()
        if not self._pulls:  # who pulls reports the whole queue
            self.mesh.send(SCHEDULER, ReadFinished(self.name, request))

    def tell_rates(self) -> None:
        """Say what the node's NICs have carried since this was last said."""
        if carried := self.meters.take():
            self.mesh.send(SCHEDULER, Measured(self.name, carried))

    # --- memory ------------------------------------------------------------------------

    def hashes(self, job: Assign) -> np.ndarray:
        """The prefix-block hashes of a request."""
        return np.frombuffer(job.hashes, dtype="<u8")

    def prompt(self, job: Assign) -> Prompt:
        """What the maker of KV is told of a request."""
        hits = sum(segment.count for segment in job.segments)
        return Prompt(self.hashes(job), job.prompt_tokens, job.generate_tokens, hits, job.tokens)

    def geometry(self, job: Assign) -> Geometry:
        """Sizes and offsets of a request."""
        return Geometry(
            self.layout,
            self.cluster.layers_per_transfer,
            job.prompt_tokens,
            job.generate_tokens,
            job.decode_blocks,
            job.blocks("pe"),
        )

    def peaks(self) -> dict[str, int]:
        """Peak use of each arena, in bytes."""
        return {arena.name: arena.peak_bytes for arena in [self.staging, *self.hbm]}

    # --- reads from storage --------------------------------------------------------------

    async def read_blocks(self, job: Assign, side: Side, key: int, extent: Extent) -> ReadTimes:
        """Read the segments of one side into DRAM, in this node's turn, and check them.

        Args:
            job: the request.
            side: whose segments: this node's.
            key: region of the arena that `extent` is a part of.
            extent: where the Full Blocks go, one after the other.

        Raises:
            ReadError: storage does not have a block, or found it damaged.
            NodeGone: the storage node is lost.
            WrongBytes: a block does not match its digest.
        """
        count, block_bytes = job.blocks(side), self.layout.full_block_bytes
        async with self._read_window, self.meters.at_work("read"):
            start_s = time.monotonic()
            table = await self.staging.allocate(8 * count)
            try:
                arrivals = self._ask_storage(job, side, key, extent, table)
                # Even if one fails: where the others land is not free before they have.
                ended = await asyncio.gather(*arrivals, return_exceptions=True)
                failed = [error for error in ended if isinstance(error, BaseException)]
                if failed:
                    raise failed[0]
                expected = np.frombuffer(table.view, dtype="<u8", count=count)
                wrong = first_wrong(extent.view[: count * block_bytes], expected, block_bytes)
            finally:
                self.staging.free(table)
                self.read_ended(job.request)
        if wrong is not None:
            sources = ", ".join(sorted({segment.node for segment in job.on(side)}))
            detail = f"block {wrong} of {count} from {sources} fails its digest"
            self.event("wrong-bytes", job.request, detail)
            raise WrongBytes(detail)
        return ReadTimes(start_s, time.monotonic())

    def _ask_storage(
        self, job: Assign, side: Side, key: int, extent: Extent, table: Extent
    ) -> list[asyncio.Future[Received]]:
        """Ask for each segment, its blocks behind one another; what will arrive.

        Args:
            job, side, key, extent: as of `read_blocks`.
            table: where the digests go, in the staging arena.
        """
        incoming, arrivals, at = self.ports.incoming, [], 0
        for part, segment in enumerate(job.on(side)):
            blocks = incoming.expect(job.request, Kind.STORAGE_READ, part, segment.node)
            done = ReadDone(job.request, part)
            blocks.add_done_callback(functools.partial(self._read_done, segment.node, done))
            digests = incoming.expect(job.request, Kind.DIGESTS, part, segment.node)
            arrivals += [blocks, digests]
            read = Read(
                job.request,
                part,
                side,
                job.hashes[8 * segment.first : 8 * (segment.first + segment.count)],
                key,
                extent.offset + at * self.layout.full_block_bytes,
                self.staging_key,
                table.offset + 8 * at,
            )
            self.mesh.send(segment.node, read)
            at += segment.count
        return arrivals

    def _read_done(self, storage: str, done: ReadDone, blocks: asyncio.Future[Received]) -> None:
        if not blocks.cancelled() and blocks.exception() is None:
            self.mesh.send(storage, done)

    def read_failed(self, message: ReadFailed) -> None:
        """Storage has refused one segment of a read."""
        error = ReadError(message.reason)
        for kind in (Kind.STORAGE_READ, Kind.DIGESTS):
            self.ports.incoming.fail(message.request, kind, message.part, error)

    def back(self, peer: str) -> None:
        """The scheduler is another one: tell it what there is here."""
        self.mesh.send(peer, Serving(self.name, self.jobs(), sorted(self.lost)))

    def jobs(self) -> list[Assign]:
        """What a decode node serves."""
        return []

    def lose(self, node: str) -> None:
        """As `Process`; and no byte of the lost node lands here any more."""
        super().lose(node)
        self.ports.lose(node)
        if self.collectives is not None:
            self.collectives.lose(node)

    def finish(self) -> None:
        """Record the accounts of all queue pairs."""
        self.ports.account()

    def leave(self) -> None:
        """Close the queue pairs."""
        self.ports.close()
