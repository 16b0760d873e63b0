"""What prefill and decode nodes share: memory, queue pairs, reads from storage, engines' HBM."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import NamedTuple

import numpy as np

from agents.blocks.arena import Arena, Extent
from agents.blocks.digests import first_wrong
from agents.cluster import Cluster
from agents.connections import call, listen
from agents.control import Assign, Read, ReadFinished
from agents.engines.geometry import Geometry
from agents.ports import Ports, WrongBytes
from agents.process import Process
from agents.wire.immediates import Kind
from testbed.sandbox.sockets import Broker

SCHEDULER = "sched"


class ReadError(Exception):
    """Storage could not give the blocks that were asked for."""


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
        self.ports = Ports(self, cluster.write_bytes)
        self.staging = Arena(cluster.buffers.staging, f"{name} staging")
        self.staging_key = self.ports.register(self.staging.memory)
        self.hbm = [Arena(cluster.buffers.hbm, f"{name}g{k} HBM") for k in range(cluster.rails)]
        self.hbm_keys = [self.ports.register(arena.memory) for arena in self.hbm]
        self._read_window = asyncio.Semaphore(cluster.read_window)

    # --- connections -------------------------------------------------------------------

    def listen(self) -> None:
        """Accept queue pairs on every port of the DRAM domain."""
        listen(self.ports)

    async def connect(self) -> None:
        """Call storage over the SNIC, and the own CNICs from every HBM domain (the loopback)."""
        own = self.cluster.addresses
        for storage in self.cluster.storage:
            local = socket.socket()
            local.bind((own[self.name]["snic0"], 0))
            call(self.ports, local, own[storage]["snic0"], self.name, storage, "snic0")
        broker = Broker.from_environment()
        for rail in range(self.cluster.rails):
            targets = self.callees(rail)
            domain = f"{self.name}g{rail}"
            for local, (node, port) in zip(
                broker.sockets(domain, len(targets)), targets, strict=True
            ):
                device = f"cnic{port}"
                call(self.ports, local, own[node][device], domain, node, device)
        await self.ports.connected(self.pair_count())

    def callees(self, rail: int) -> list[tuple[str, int]]:
        """(node, CNIC) pairs that engine `rail` calls; always its own CNIC's loopback."""
        return [(self.name, rail)]

    def pair_count(self) -> int:
        """Queue pairs of this process when all are up (a loopback has two ends here)."""
        return len(self.cluster.storage) + 2 * self.cluster.rails

    # --- memory ------------------------------------------------------------------------

    def hashes(self, job: Assign) -> np.ndarray:
        """The prefix-block hashes of a request."""
        return np.frombuffer(job.hashes, dtype="<u8")

    def geometry(self, job: Assign) -> Geometry:
        """Sizes and offsets of a request."""
        return Geometry(
            self.layout,
            self.cluster.layers_per_transfer,
            job.prompt_tokens,
            job.generate_tokens,
            job.hit_blocks,
            job.path,
        )

    def peaks(self) -> dict[str, int]:
        """Peak use of each arena, in bytes."""
        return {arena.name: arena.peak_bytes for arena in [self.staging, *self.hbm]}

    # --- reads from storage --------------------------------------------------------------

    async def read_blocks(self, job: Assign, key: int, extent: Extent) -> ReadTimes:
        """Read the hit blocks of a request into DRAM, in this node's turn, and check them.

        Args:
            job: the request.
            key: region of the arena that `extent` is a part of.
            extent: where the Full Blocks go, one after the other.

        Raises:
            ReadError: storage does not have a block, or found it damaged.
            WrongBytes: a block does not match its digest.
        """
        async with self._read_window:
            start_s = time.monotonic()
            table = await self.staging.allocate(8 * job.hit_blocks)
            try:
                blocks = self.ports.expect(job.request, Kind.STORAGE_READ)
                digests = self.ports.expect(job.request, Kind.DIGESTS)
                wanted = job.hashes[: 8 * job.hit_blocks]
                self.mesh.send(
                    job.storage,
                    Read(
                        job.request,
                        job.path,
                        wanted,
                        key,
                        extent.offset,
                        self.staging_key,
                        table.offset,
                    ),
                )
                await asyncio.gather(blocks, digests)
                expected = np.frombuffer(table.view, dtype="<u8", count=job.hit_blocks)
                size = job.hit_blocks * self.layout.full_block_bytes
                wrong = first_wrong(extent.view[:size], expected, self.layout.full_block_bytes)
            finally:
                self.staging.free(table)
                self.mesh.send(
                    SCHEDULER,
                    ReadFinished(self.name, job.request, job.hit_blocks * self.layout.block_tokens),
                )
        if wrong is not None:
            detail = f"block {wrong} of {job.hit_blocks} from {job.storage} fails its digest"
            self.event("wrong-bytes", job.request, detail)
            raise WrongBytes(detail)
        return ReadTimes(start_s, time.monotonic())

    def finish(self) -> None:
        """Record the accounts of all queue pairs."""
        self.ports.account()

    def leave(self) -> None:
        """Close the queue pairs."""
        self.ports.close()
