"""Processes that do something wrong, and workloads that make things tight.

python -m tests.e2e.faults FAULT --name NAME --cluster FILE
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import sys
import time
from collections import Counter
from pathlib import Path

import msgspec

from agents.blocks.hashing import Hashes
from agents.cluster import Cluster
from agents.settings import DualPathScenario
from agents.workload import DualPath
from testbed.experiment.workload import Placed
from testbed.plan.model import Plan

_STALL_S = 0.05
_ROOT = str(Path(__file__).resolve().parents[2])


def replaced(placed: Placed, fault: str) -> Placed:
    """The same program with a fault."""
    program = msgspec.structs.replace(
        placed.program,
        module="tests.e2e.faults",
        fork=False,
        argv=(fault, *placed.program.argv),
        module_path=(_ROOT,),
    )
    return Placed(placed.name, program)


class TinyBuffers(DualPath):
    """DRAM buffers that hold one and a half of the longest prompts."""

    def _cluster(
        self, scenario: DualPathScenario, plan: Plan, variant: str, directory: Path
    ) -> Cluster:
        cluster = super()._cluster(scenario, plan, variant, directory)
        longest = 33 * 1024 // 64 * cluster.layout.full_block_bytes
        tight = msgspec.structs.replace(
            cluster.buffers, pe_buffer=longest * 3 // 2, de_buffer=longest * 3 // 2
        )
        return msgspec.structs.replace(cluster, buffers=tight)


def _flip_byte() -> None:
    """Storage: one byte of one stored block changes after it was digested."""
    from agents.storage import store

    lay_down = store.Store.lay_down

    def broken(self: store.Store, hashes: Hashes, parent: int | None = None) -> int:
        first = len(self) == 0
        made = lay_down(self, hashes, parent)
        if first:
            self.memory[1] ^= 0x40
        return made

    store.Store.lay_down = broken  # type: ignore[method-assign]


def _forget(every: int) -> None:
    """Storage: of every so many hits of a prefix, one block is gone by the time it is read."""
    from agents.storage import store

    lookup = store.Store.lookup
    hits: Counter[int] = Counter()

    def broken(self: store.Store, hashes: Hashes) -> int:
        found = lookup(self, hashes)
        if found and not self._trie.pinned:
            hits[int(hashes[0])] += 1
            if hits[int(hashes[0])] % every == 0:
                block = int(hashes[found // 2])
                slot = self._trie.slot(block)
                assert slot is not None
                self._trie._remove(block)
                self._free.give(slot, 1)
        return found

    store.Store.lookup = broken  # type: ignore[method-assign]


def _swap_layers() -> None:
    """A node gathers the first two Layer Blocks of a group in the wrong order."""
    from agents.engines import paths

    gather = paths.gather_group

    def broken(layout, full, blocks, first, count, out):  # type: ignore[no-untyped-def]
        gather(layout, full, blocks, first, count, out)
        size = layout.layer_block_bytes
        if count > 1:
            one, two = bytes(out[:size]), bytes(out[size : 2 * size])
            out[:size], out[size : 2 * size] = two, one

    paths.gather_group = broken


def _flip_returned_byte() -> None:
    """A prefill node's HBM loses a bit between the check and the return."""
    from agents.engines import layers

    returned = layers.Passage._return

    def broken(self, chunk, group, memory):  # type: ignore[no-untyped-def]
        memory[0] ^= 1
        return returned(self, chunk, group, memory)

    layers.Passage._return = broken  # type: ignore[method-assign]


def _fail_some_prefills() -> None:
    """A prefill engine gives every third request up when half of its groups have been returned."""
    from agents.engines import layers
    from agents.incoming import WrongBytes

    arrived = layers.Passage.arrived

    async def broken(self, group, could_start_s):  # type: ignore[no-untyped-def]
        if self.job.request % 3 == 0 and group.index == len(self.geometry.groups()) // 2:
            raise WrongBytes("made to fail")
        return await arrived(self, group, could_start_s)

    layers.Passage.arrived = broken  # type: ignore[method-assign]


def _fail_some_reads() -> None:
    """A node gives every third request up when it has read its part."""
    from agents.engines import node

    read_blocks = node.Node.read_blocks

    async def broken(self, job, side, key, extent):  # type: ignore[no-untyped-def]
        times = await read_blocks(self, job, side, key, extent)
        if job.request % 3 == 0:
            raise node.ReadError("made to fail")
        return times

    node.Node.read_blocks = broken  # type: ignore[method-assign]


def _fail_some_held() -> None:
    """A decode node gives every third request up while it sends layer groups on credit."""
    import asyncio

    from agents.engines import held
    from agents.incoming import WrongBytes

    prefilled = held.Held.prefilled

    async def broken(self):  # type: ignore[no-untyped-def]
        if self.job.request % 3 == 0 and self.geometry.de_blocks:
            while self.groups_sent < 2:
                await asyncio.sleep(0.001)
            raise WrongBytes("made to fail")
        return await prefilled(self)

    held.Held.prefilled = broken  # type: ignore[method-assign]


def _flip_stored_bit() -> None:
    """Storage: the lowest bit of every block changes after it was digested."""
    from agents.storage import store

    commit = store.Store.commit

    def broken(self, reservation, hashes):  # type: ignore[no-untyped-def]
        made = commit(self, reservation, hashes)
        reservation.parts[0].view[0] ^= 1
        return made

    store.Store.commit = broken  # type: ignore[method-assign]


def _flip_kept_bit() -> None:
    """DRAM of a decode node: the lowest bit of what storage then takes for right."""
    from agents.engines import persist

    put = persist.Persister.put

    async def broken(self, request, hashes, first, count, staged):  # type: ignore[no-untyped-def]
        staged.view[0] ^= 1
        return await put(self, request, hashes, first, count, staged)

    persist.Persister.put = broken  # type: ignore[method-assign]


def _flip_loaded_bit() -> None:
    """HBM of a prefill engine: the lowest bit of hit KV, when attention begins."""
    from agents.transformer import maker

    compute = maker.TransformerPrefill.compute

    def broken(self, group, hits, *rest):  # type: ignore[no-untyped-def]
        if hits.nbytes:
            hits[-2] ^= 1  # the last value of its last token
        compute(self, group, hits, *rest)

    maker.TransformerPrefill.compute = broken  # type: ignore[method-assign]


def _flip_decoded_bit() -> None:
    """HBM of a decode engine: the lowest bit of the prompt's last value."""
    from agents.transformer import maker

    load = maker.TransformerDecode.load

    def broken(self, parts):  # type: ignore[no-untyped-def]
        parts[-1].memory[-2] ^= 1
        return load(self, parts)

    maker.TransformerDecode.load = broken  # type: ignore[method-assign]


def _evict_early() -> None:
    """A decode node: of every second read of its cache the blocks have just been evicted."""
    from agents.engines import cache

    hold = cache.PrefixCache.hold
    reads = itertools.count()

    def broken(self: cache.PrefixCache, hashes: Hashes) -> cache.Held:
        if next(reads) % 2:
            self.evict(len(self))
        return hold(self, hashes)

    cache.PrefixCache.hold = broken  # type: ignore[method-assign]


def _flip_cached_bit() -> None:
    """DRAM of a decode node: a bit of its cache changes before it is read."""
    from agents.engines import cache

    hold = cache.PrefixCache.hold

    def broken(self: cache.PrefixCache, hashes: Hashes) -> cache.Held:
        held = hold(self, hashes)
        held.views[0][5] ^= 1
        return held

    cache.PrefixCache.hold = broken  # type: ignore[method-assign]


def _falsify(kind: str, field: str, factor: float) -> None:
    """What a process records of itself is not what it did; by 0, it does not record it at all."""
    from agents import records

    append = records.RecordLog.append

    def broken(self: records.RecordLog, record: records.AnyRecord) -> None:
        if type(record).__name__ != kind:
            append(self, record)
        elif factor:
            false = {field: int(factor * getattr(record, field))}
            append(self, msgspec.structs.replace(record, **false))

    records.RecordLog.append = broken  # type: ignore[method-assign]


def _stall() -> None:
    """Half of the time the process's event loop stands still, 50 ms each."""
    from agents import process

    run = process.Process.run

    async def stalling() -> None:
        while True:
            time.sleep(_STALL_S)  # the stall itself
            await asyncio.sleep(_STALL_S)

    async def broken(self: process.Process) -> None:
        task = asyncio.get_running_loop().create_task(stalling())
        try:
            await run(self)
        finally:
            task.cancel()

    process.Process.run = broken  # type: ignore[method-assign]


_STORAGE_FAULTS = {
    "falsify-sent": functools.partial(_falsify, "StorageRecord", "sent_bytes", 0.9),
    "flip-byte": _flip_byte,
    "forget-block": functools.partial(_forget, 2),
    "forget-always": functools.partial(_forget, 1),
    "flip-stored-bit": _flip_stored_bit,
}
_FAULTS = {
    **_STORAGE_FAULTS,
    "flip-kept-bit": _flip_kept_bit,
    "flip-loaded-bit": _flip_loaded_bit,
    "flip-decoded-bit": _flip_decoded_bit,
    "fail-some-held": _fail_some_held,
    "fail-some-prefills": _fail_some_prefills,
    "fail-some-reads": _fail_some_reads,
    "evict-early": _evict_early,
    "flip-cached-bit": _flip_cached_bit,
    "swap-layers": _swap_layers,
    "flip-returned-byte": _flip_returned_byte,
    "falsify-account": functools.partial(_falsify, "AccountRecord", "sent_bytes", 1.5),
    "falsify-read": functools.partial(_falsify, "TransferRecord", "size_bytes", 1.01),
    "stall": _stall,
    "lose-the-end": functools.partial(_falsify, "ProcessRecord", "", 0),
}


def main() -> None:
    """Break something, then be the process."""
    fault = sys.argv.pop(1)
    _FAULTS[fault]()
    from agents import node, process
    from agents.storage.server import StorageNode

    process.main(StorageNode if fault in _STORAGE_FAULTS else node.node)


if __name__ == "__main__":
    main()
