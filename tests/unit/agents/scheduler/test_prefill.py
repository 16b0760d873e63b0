"""Prefill placement against the rules, and against a naive reading of the text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agents.scheduler.prefill import PrefillQueue, Scope
from agents.scheduler.state import Ask, EngineReport, EngineTable, GroupReport, TieBreak, Ties
from tests.unit.agents.scheduler.naive import Engine, NaivePrefill

ALPHA, BETA = 50, 100
prompts = st.lists(st.integers(1, 150), max_size=20)


@st.composite
def clusters(draw: st.DrawFn) -> list[GroupReport]:
    """Reports of one to four groups; loads are such that all classes occur."""
    rails = draw(st.integers(1, 3))
    return [
        GroupReport(
            f"pe{node}",
            [
                EngineReport(draw(st.integers(0, 3)), draw(st.integers(0, 150)))
                for _ in range(rails)
            ],
            read_queue_tokens=draw(st.sampled_from([0, ALPHA, ALPHA + 1, 100])),
        )
        for node in range(draw(st.integers(1, 4)))
    ]


def queue_of(
    reports: list[GroupReport], sizes: list[int], *, ties: Ties = "first", scope: Scope = "cluster"
) -> tuple[EngineTable, PrefillQueue]:
    table = EngineTable([report.node for report in reports], len(reports[0].engines))
    for report in reports:
        table.report(report)
    queue = PrefillQueue(
        table, alpha_tokens=ALPHA, beta_tokens=BETA, ties=TieBreak(ties, 1), scope=scope
    )
    for request, tokens in enumerate(sizes):
        queue.submit(Ask(request, tokens, tokens, 0))
    return table, queue


@given(clusters(), prompts)
def test_it_does_what_the_text_says(reports: list[GroupReport], sizes: list[int]) -> None:
    _, queue = queue_of(reports, sizes)
    naive = NaivePrefill(
        [
            Engine(report.node, rail, engine.tokens, engine.requests)
            for report in reports
            for rail, engine in enumerate(report.engines)
        ],
        {report.node: report.read_queue_tokens for report in reports},
        ALPHA,
        BETA,
        [Ask(request, tokens, tokens, 0) for request, tokens in enumerate(sizes)],
    )
    assert [tuple(pick) for pick in queue.fetch("pe0")] == naive.fetch()
    assert len(queue) == len(naive.queue)


@given(clusters(), prompts, st.sampled_from(["first", "seeded"]))
def test_the_rules_hold_whatever_breaks_ties(
    reports: list[GroupReport], sizes: list[int], ties: Ties
) -> None:
    table, queue = queue_of(reports, sizes, ties=ties)
    tokens = {
        (report.node, rail): engine.tokens
        for report in reports
        for rail, engine in enumerate(report.engines)
    }
    read = {report.node: report.read_queue_tokens for report in reports}
    picks = queue.fetch("pe0")
    assert [pick.request for pick in picks] == list(range(len(picks)))  # FIFO
    for pick in picks:
        engine = (pick.node, pick.rail)
        assert tokens[engine] <= BETA  # never to C1
        open_to = {e for e, load in tokens.items() if load <= BETA}
        short = {e for e in open_to if read[e[0]] <= ALPHA}
        assert engine in (short or open_to)  # C2 before C3
        assert tokens[engine] == min(tokens[e] for e in short or open_to)
        tokens[engine] += sizes[pick.request]
    if len(queue):  # work-conserving: a request waits only if every engine is in C1
        assert all(load > BETA for load in tokens.values())
    assert {
        (node, rail): int(table.tokens[group, rail])
        for node, group in table.index.items()
        for rail in range(table.rails)
    } == tokens


@given(clusters(), prompts)
def test_in_group_scope_only_the_group_that_fetches_is_filled(
    reports: list[GroupReport], sizes: list[int]
) -> None:
    node = reports[-1].node
    _, queue = queue_of(reports, sizes, scope="group")
    _, alone = queue_of(reports[-1:], sizes)
    assert queue.fetch(node) == alone.fetch(node)


def test_at_its_limits_an_engine_is_open_and_its_node_short_of_reads() -> None:
    full = GroupReport("pe0", [EngineReport(1, BETA)], read_queue_tokens=ALPHA)
    idle = GroupReport("pe1", [EngineReport(0, 0)], read_queue_tokens=ALPHA + 1)
    _, queue = queue_of([full, idle], [1, 1])
    assert [pick.node for pick in queue.fetch("pe0")] == ["pe0", "pe1"]


def test_a_group_that_has_never_reported_gets_nothing() -> None:
    table = EngineTable(["pe0", "pe1"], 1)
    queue = PrefillQueue(table, alpha_tokens=ALPHA, beta_tokens=BETA, ties=TieBreak("first", 0))
    queue.submit(Ask(1, 10, 10, 0))
    assert queue.fetch("pe0") == []
    table.report(GroupReport("pe1", [EngineReport(9, 90)]))
    assert [pick.node for pick in queue.fetch("pe1")] == ["pe1"]


def test_ties_depend_on_the_seed_alone_and_are_even() -> None:
    reports = [GroupReport(f"pe{node}", [EngineReport(0, 0)] * 4) for node in range(2)]
    chosen = []
    for request in range(400):
        _, queue = queue_of(reports, [], ties="seeded")
        queue.submit(Ask(request, 1, 1, 0))
        (pick,) = queue.fetch("pe0")
        chosen.append((pick.node, pick.rail))
    assert all(20 < chosen.count((f"pe{node}", rail)) < 90 for node in (0, 1) for rail in range(4))
