"""What the scheduler believes of engines between reports."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agents.scheduler.state import EngineReport, EngineTable, GroupReport, TieBreak


def table_of(**choices: str) -> EngineTable:
    table = EngineTable(["a", "b"], 2, **choices)  # type: ignore[arg-type]
    table.report(GroupReport("a", [EngineReport(1, 10, 100, 30), EngineReport(0, 0, 100)]))
    return table


def test_free_hbm_is_net_of_reservations_or_not() -> None:
    assert table_of().free_bytes[0].tolist() == [100, 100]
    assert table_of(free_hbm="net").free_bytes[0].tolist() == [70, 100]


def test_what_is_in_no_report_yet_counts() -> None:
    table = table_of()
    table.assign(7, 0, 1, tokens=5, hbm_bytes=20)
    before = GroupReport("a", [EngineReport(0, 0, 100), EngineReport(0, 0, 100)])
    table.report(before)  # on its way before the request arrived there
    assert table.tokens[0].tolist() == [0, 5]
    assert table.requests[0].tolist() == [0, 1]
    assert table.free_bytes[0].tolist() == [100, 80]
    after = GroupReport("a", [EngineReport(0, 0, 100), EngineReport(1, 5, 80)], taken=[7])
    table.report(after)
    assert table.tokens[0].tolist() == [0, 5]
    assert table.free_bytes[0].tolist() == [100, 80]


def test_or_it_counts_until_the_next_report() -> None:
    table = table_of(unreported="ignored")
    table.assign(7, 0, 1, tokens=5)
    assert table.tokens[0].tolist() == [10, 5]
    table.report(GroupReport("a", [EngineReport(0, 0), EngineReport(0, 0)]))
    assert table.tokens[0].tolist() == [0, 0]
    table.read(7, "a", 5)
    assert table.read_tokens[0] == 0


def test_reads_count_from_when_they_are_assigned() -> None:
    table = table_of()
    idle = [EngineReport(0, 0)] * 2
    table.read(7, "a", 64)
    table.report(GroupReport("a", idle, read_queue_tokens=10, read_queue_requests=1))
    assert (int(table.read_tokens[0]), table.read_requests[0]) == (74, 2)
    table.report(GroupReport("a", idle, 74, 2, reads_taken=[7]))
    assert (int(table.read_tokens[0]), table.read_requests[0]) == (74, 2)


def test_a_request_that_never_reached_its_engine_leaves_nothing() -> None:
    table = table_of()
    table.assign(7, 1, 0, tokens=5, hbm_bytes=1)
    table.read(7, "b", 64)
    table.ended(7, "b")
    assert not table.tokens[1].any() and not table.requests[1].any()
    assert not table.free_bytes[1].any() and table.read_tokens[1] == 0
    table.ended(7, "b")  # by now it may also be in a report: nothing to undo


def test_a_lost_group_leaves_nothing_that_could_end_later() -> None:
    table = table_of()
    table.assign(7, 0, 1, tokens=5, hbm_bytes=20)
    table.read(7, "a", 64)
    table.lose("a")
    table.ended(7, "a")
    for column in (table.tokens, table.requests, table.free_bytes, table.read_tokens):
        assert not column.any()
    assert table.read_requests == [0, 0]


@given(st.data())
def test_whatever_arrives_in_whatever_order_the_sum_is_right(data: st.DataObject) -> None:
    """One engine: requests are assigned, arrive, end; reports are late by any number of steps."""
    table = EngineTable(["a"], 1)
    on_the_way: list[int] = []
    there: set[int] = set()
    taken: list[int] = []
    unfinished: set[int] = set()
    for step in range(data.draw(st.integers(1, 30))):
        match data.draw(st.sampled_from(["assign", "arrive", "end", "lose", "report"])):
            case "assign":
                table.assign(step, 0, 0, tokens=10)
                on_the_way.append(step)
                unfinished.add(step)
            case "arrive" if on_the_way:
                request = on_the_way.pop(data.draw(st.integers(0, len(on_the_way) - 1)))
                there.add(request)
                taken.append(request)
            case "end" if there:
                request = min(there)
                there.remove(request)
                unfinished.remove(request)
            case "lose" if on_the_way:
                request = on_the_way.pop()
                unfinished.remove(request)
                table.ended(request, "a")
            case "report":
                table.report(
                    GroupReport("a", [EngineReport(len(there), 10 * len(there))], taken=taken)
                )
                taken = []
                assert table.tokens[0, 0] == 10 * len(unfinished)
                assert table.requests[0, 0] == len(unfinished)


def test_the_first_of_equals_if_asked_for() -> None:
    assert {TieBreak("first", 3).choose(request, [4, 5]) for request in range(50)} == {4}
    assert {TieBreak("seeded", 3).choose(request, [4, 5]) for request in range(50)} == {4, 5}
