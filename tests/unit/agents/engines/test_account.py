"""What a node says of its engines, and that the scheduler comes to believe it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agents.engines.account import Account
from agents.scheduler.state import EngineReport, EngineTable

FREE = [1000, 1000]


def test_a_request_is_in_its_engines_account_until_it_ends() -> None:
    account = Account("de0", 2, by_bytes=False)
    account.take(1, 0, tokens=100, hbm_bytes=40)
    account.take(2, 1, tokens=50, hbm_bytes=20)
    report = account.report(FREE)
    assert report.engines == [EngineReport(1, 100, 1000, 40), EngineReport(1, 50, 1000, 20)]
    assert report.taken == [1, 2]
    account.in_hbm(1)
    account.end(2)
    report = account.report([960, 1000])
    assert report.engines == [EngineReport(1, 100, 960, 0), EngineReport(0, 0, 1000, 0)]
    assert report.taken == []  # said once


def test_the_read_queue_falls_at_completion() -> None:
    account = Account("pe0", 2, by_bytes=False)
    account.queue_read(1, tokens=64, size_bytes=6400)
    account.queue_read(2, tokens=128, size_bytes=12800)
    account.read_arrived(1, 6300)
    report = account.report(FREE)
    assert (report.read_queue_tokens, report.read_queue_requests) == (192, 2)
    assert report.reads_taken == [1, 2]
    account.end_read(1)
    report = account.report(FREE)
    assert (report.read_queue_tokens, report.read_queue_requests) == (128, 1)
    assert report.reads_taken == []


def test_or_as_bytes_arrive() -> None:
    account = Account("pe0", 2, by_bytes=True)
    account.queue_read(1, tokens=64, size_bytes=6400)
    account.read_arrived(1, 3201)
    assert account.report(FREE).read_queue_tokens == 32  # 31.99: the part of a token is one
    account.read_arrived(1, 3199)
    assert account.report(FREE).read_queue_tokens == 0
    assert account.report(FREE).read_queue_requests == 1
    account.end_read(1)
    account.read_arrived(1, 1)  # of a read that was given up
    assert account.report(FREE).read_queue_requests == 0


def test_a_request_that_fails_takes_its_read_along() -> None:
    account = Account("pe0", 2, by_bytes=False)
    account.take(1, 0, tokens=100)
    account.queue_read(1, tokens=64, size_bytes=6400)
    account.end(1)
    report = account.report(FREE)
    assert (report.read_queue_tokens, report.engines[0].requests) == (0, 0)


def test_nothing_is_kept_for_a_report_that_nobody_asks_for() -> None:
    account = Account("pe0", 2, by_bytes=False, reports=False)
    account.take(1, 0, tokens=100)
    account.queue_read(1, tokens=64, size_bytes=6400)
    report = account.report(FREE)
    assert (report.taken, report.reads_taken) == ([], [])


@given(st.data())
def test_the_scheduler_believes_the_sum_of_account_and_what_is_on_its_way(
    data: st.DataObject,
) -> None:
    account, table = Account("n", 2, by_bytes=False), EngineTable(["n"], 2, free_hbm="net")
    on_the_way: dict[int, int] = {}
    there: dict[int, int] = {}
    for request in range(data.draw(st.integers(1, 25))):
        match data.draw(st.sampled_from(["assign", "arrive", "end"])):
            case "assign":
                on_the_way[request] = rail = data.draw(st.integers(0, 1))
                table.assign(request, 0, rail, tokens=10, hbm_bytes=3)
                table.read(request, "n", 8)
            case "arrive" if on_the_way:
                arrived = data.draw(st.sampled_from(sorted(on_the_way)))
                there[arrived] = on_the_way.pop(arrived)
                account.take(arrived, there[arrived], tokens=10, hbm_bytes=3)
                account.queue_read(arrived, tokens=8, size_bytes=80)
            case "end" if there:
                ended = data.draw(st.sampled_from(sorted(there)))
                del there[ended]
                account.end(ended)
                if data.draw(st.booleans()):  # the scheduler may hear of it before the report
                    table.ended(ended, "n")
        if data.draw(st.booleans()):
            table.report(account.report(FREE))
    table.report(account.report(FREE))
    rails = [*on_the_way.values(), *there.values()]
    assert table.requests[0].tolist() == [rails.count(0), rails.count(1)]
    assert table.tokens[0].tolist() == [10 * rails.count(0), 10 * rails.count(1)]
    assert table.free_bytes[0].tolist() == [1000 - 3 * rails.count(rail) for rail in (0, 1)]
    assert int(table.read_tokens[0]) == 8 * len(rails)
