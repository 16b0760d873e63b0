"""Choices become segments: whole blocks, each once, the decode side's first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agents.read_path import Segment
from agents.scheduler.directory import Peer
from agents.scheduler.segments import segments_of
from agents.scheduler.views import Split
from agents.storage.placement import Run

RUNS = [Run("st0", 0, 4), Run("st1", 4, 4)]


def test_one_side_reads_all_runs() -> None:
    assert segments_of("pe", RUNS) == [Segment("pe", "st0", 0, 4), Segment("pe", "st1", 4, 4)]


def test_a_split_cuts_the_run_that_it_falls_into() -> None:
    assert segments_of(Split(0.75), RUNS) == [
        Segment("de", "st0", 0, 4),
        Segment("de", "st1", 4, 2),
        Segment("pe", "st1", 6, 2),
    ]


@given(st.floats(0, 1), st.lists(st.integers(1, 50), min_size=1, max_size=6))
def test_every_block_is_read_once_and_decode_blocks_come_first(
    share: float, sizes: list[int]
) -> None:
    runs, first = [], 0
    for index, size in enumerate(sizes):
        runs.append(Run(f"st{index}", first, size))
        first += size
    segments = segments_of(Split(share), runs)
    blocks = [
        (block, segment.side, segment.node)
        for segment in segments
        for block in range(segment.first, segment.first + segment.count)
    ]
    assert [block for block, *_ in blocks] == list(range(first))
    sides = [side for _, side, _ in blocks]
    assert sides == sorted(sides)
    assert sides.count("de") == round(share * first)
    where = {run.node: range(run.first, run.first + run.blocks) for run in runs}
    assert all(block in where[node] for block, _, node in blocks)


def test_what_a_cache_lacks_is_read_on_the_decode_node() -> None:
    assert segments_of("peer", RUNS, Peer("de1", 6)) == [
        Segment("peer", "de1", 0, 6),
        Segment("de", "st1", 6, 2),
    ]
    assert segments_of("peer", RUNS, Peer("de1", 8)) == [Segment("peer", "de1", 0, 8)]
