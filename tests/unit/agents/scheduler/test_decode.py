"""Decode placement against the rules, and against a naive reading of the text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agents.scheduler.decode import DecodeQueues
from agents.scheduler.state import Ask, EngineReport, EngineTable, GroupReport, TieBreak, Ties
from tests.unit.agents.scheduler.naive import Engine, NaiveDecode

# Coarse sizes of HBM, so that requests often fit exactly.
asks = st.lists(
    st.tuples(st.integers(1, 100), st.integers(1, 3).map(lambda n: 20 * n)), max_size=12
)


@st.composite
def clusters(draw: st.DrawFn) -> list[GroupReport]:
    """Reports of one to three groups, some with little HBM."""
    rails = draw(st.integers(1, 3))
    return [
        GroupReport(
            f"de{node}",
            [
                EngineReport(
                    draw(st.integers(0, 3)),
                    draw(st.integers(0, 150)),
                    20 * draw(st.integers(0, 8)),
                )
                for _ in range(rails)
            ],
        )
        for node in range(draw(st.integers(1, 3)))
    ]


def queues_of(
    reports: list[GroupReport], sizes: list[tuple[int, int]], ties: Ties = "first"
) -> tuple[EngineTable, DecodeQueues]:
    table = EngineTable([report.node for report in reports], len(reports[0].engines))
    for report in reports:
        table.report(report)
    queues = DecodeQueues(table, ties=TieBreak(ties, 1))
    for request, (tokens, hbm_bytes) in enumerate(sizes):
        queues.submit(Ask(request, tokens, tokens, hbm_bytes))
    return table, queues


@given(clusters(), asks, asks, st.data())
def test_it_does_what_the_text_says(
    reports: list[GroupReport],
    sizes: list[tuple[int, int]],
    later: list[tuple[int, int]],
    data: st.DataObject,
) -> None:
    _, queues = queues_of(reports, sizes)
    naive = NaiveDecode(
        {
            report.node: [
                Engine(report.node, rail, e.tokens, e.requests, e.free_hbm_bytes)
                for rail, e in enumerate(report.engines)
            ]
            for report in reports
        },
        [Ask(request, tokens, tokens, size) for request, (tokens, size) in enumerate(sizes)],
    )
    order = [report.node for report in reports]
    for node in data.draw(st.permutations(order)):
        assert [tuple(pick) for pick in queues.fetch(node)] == naive.fetch(node)
    for number, (tokens, size) in enumerate(later):
        ask = Ask(100 + number, tokens, tokens, size)
        queues.submit(ask)
        naive.queue.append(ask)
    for node in order:
        assert [tuple(pick) for pick in queues.fetch(node)] == naive.fetch(node)
    assert len(queues) == sum(map(len, naive.private.values()))


@given(clusters(), asks, st.sampled_from(["first", "seeded"]))
def test_the_rules_hold_whatever_breaks_ties(
    reports: list[GroupReport], sizes: list[tuple[int, int]], ties: Ties
) -> None:
    table, queues = queues_of(reports, sizes, ties)
    free = {
        (report.node, rail): engine.free_hbm_bytes
        for report in reports
        for rail, engine in enumerate(report.engines)
    }
    placed: dict[str, list[int]] = {}
    for report in reports:
        picks = queues.fetch(report.node)
        assert all(pick.node == report.node for pick in picks)
        placed[report.node] = [pick.request for pick in picks]
        for pick in picks:
            free[pick.node, pick.rail] -= sizes[pick.request][1]
    assert all(left >= 0 for left in free.values())  # never over HBM
    for requests in placed.values():  # each group serves its requests in the order of arrival
        assert requests == sorted(requests)
    # Work-conserving: the head of a private queue waits only if no engine of its group has room.
    for report in reports:
        group = table.index[report.node]
        if head := next(iter(queues._private[group]), None):
            assert all(head.hbm_bytes > free[report.node, rail] for rail in range(table.rails))
    assert sum(map(len, placed.values())) + len(queues) == len(sizes)


def test_groups_get_as_many_tokens_as_each_other() -> None:
    reports = [GroupReport(f"de{node}", [EngineReport(0, 0, 10**6)] * 2) for node in range(4)]
    table, queues = queues_of(reports, [(10, 1)] * 40)
    for report in reports:
        queues.fetch(report.node)
    assert table.tokens.sum(axis=1).tolist() == [100] * 4


def test_an_engine_with_many_tokens_is_passed_over_for_one_with_more_requests() -> None:
    few_long, many_short = EngineReport(1, 1000, 10**6), EngineReport(5, 100, 10**6)
    _, queues = queues_of([GroupReport("de0", [few_long, many_short])], [(50, 1)])
    (pick,) = queues.fetch("de0")
    assert pick.rail == 1


def test_what_waits_for_hbm_blocks_what_is_behind_it() -> None:
    _, queues = queues_of([GroupReport("de0", [EngineReport(0, 0, 10)])], [(1, 11), (1, 1)])
    assert queues.fetch("de0") == []
    assert len(queues) == 2


def test_what_fits_the_free_hbm_exactly_counts_in_the_limit() -> None:
    """Z is 1.05 × (40 + 2) / 2 with both requests, and 1.05 × (20 + 2) / 2 with the first alone."""
    fewer_requests, fewer_tokens = EngineReport(1, 2, 10), EngineReport(3, 0, 10)
    _, queues = queues_of([GroupReport("de0", [fewer_requests, fewer_tokens])], [(20, 10)] * 2)
    assert [pick.rail for pick in queues.fetch("de0")] == [0, 1]


def test_who_had_an_engine_of_a_lost_group_is_before_those_who_waited_for_one() -> None:
    full = [GroupReport(f"de{node}", [EngineReport(0, 0, 0)]) for node in range(2)]
    table, queues = queues_of(full, [(10, 1)] * 4)
    assert queues.fetch("de0") == []  # two wait in each group
    queues.submit(Ask(4, 10, 10, 1))
    table.lose("de0")
    queues.lose("de0", [Ask(9, 10, 10, 1)])
    table.report(GroupReport("de1", [EngineReport(0, 0, 1000)]))
    assert [pick.request for pick in queues.fetch("de1")] == [1, 3, 9, 0, 2, 4]
