"""The pull model as a whole: who waits, who is placed, and that nothing is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agents.scheduler.pull import PullScheduler
from agents.scheduler.state import Ask, EngineReport, GroupReport

IDLE = [EngineReport(0, 0, 1000)] * 2


def scheduler(**choices: object) -> PullScheduler:
    given: dict[str, object] = {"alpha_tokens": 100, "beta_tokens": 100, **choices}
    return PullScheduler(["pe0", "pe1"], ["de0"], 2, **given)  # type: ignore[arg-type]


def test_a_request_is_placed_when_it_has_both_engines() -> None:
    pull = scheduler(ties="first")
    assert pull.submit(Ask(1, 10, 12, 5)) == []
    assert pull.fetch(GroupReport("pe0", IDLE)) == []
    assert pull.waiting == (0, 1)
    (placed,) = pull.fetch(GroupReport("de0", IDLE))
    assert placed == (1, ("pe0", 0), ("de0", 0))
    assert pull.waiting == (0, 0)


def test_the_decode_engine_may_come_first() -> None:
    pull = scheduler(ties="first")
    pull.submit(Ask(1, 10, 12, 5))
    assert pull.fetch(GroupReport("de0", IDLE)) == []
    (placed,) = pull.fetch(GroupReport("pe1", IDLE))
    assert placed == (1, ("pe1", 0), ("de0", 0))


def test_a_long_read_queue_moves_requests_to_the_other_node() -> None:
    pull = scheduler()
    for node in ("pe0", "pe1"):
        pull.fetch(GroupReport(node, IDLE))
    pull.reading(9, "pe0", 101)
    assert pull.read_queue("pe0") == (101, 1)
    for request in range(4):
        pull.submit(Ask(request, 40, 50, 1))
    pull.fetch(GroupReport("pe1", IDLE))
    placed = pull.fetch(GroupReport("de0", IDLE))
    assert {each.prefill[0] for each in placed} == {"pe1"}


def test_requests_wait_while_every_engine_has_more_than_beta_tokens() -> None:
    pull = scheduler()
    busy = [EngineReport(3, 101, 0)] * 2
    pull.fetch(GroupReport("pe0", busy))
    pull.fetch(GroupReport("pe1", busy))
    pull.submit(Ask(1, 10, 12, 5))
    assert pull.fetch(GroupReport("pe0", busy)) == []
    assert pull.waiting == (1, 1)


@given(
    st.lists(st.tuples(st.integers(1, 80), st.integers(1, 500)), max_size=25),
    st.sampled_from(["counted", "ignored"]),
    st.sampled_from(["seeded", "first"]),
    st.sampled_from(["cluster", "group"]),
)
def test_every_request_is_placed_once_and_all_of_it_is_given_back(
    sizes: list[tuple[int, int]], unreported: str, ties: str, scope: str
) -> None:
    pull = scheduler(unreported=unreported, ties=ties, scope=scope, seed=3)
    for request, (tokens, hbm_bytes) in enumerate(sizes):
        pull.submit(Ask(request, tokens, tokens + 1, hbm_bytes))
    placed: list[int] = []
    for _ in range(len(sizes) + 2):  # everything that is placed has ended by the next round
        for node in ("pe0", "pe1", "de0"):
            for each in pull.fetch(GroupReport(node, IDLE, taken=placed, reads_taken=placed)):
                placed.append(each.request)
                pull.reading(each.request, each.prefill[0], 1)
                pull.ended(each.request)
    assert sorted(placed) == list(range(len(sizes)))
    assert pull.waiting == (0, 0)
    for node in ("pe0", "pe1", "de0"):
        pull.fetch(GroupReport(node, IDLE))
    assert not pull.prefill.tokens.any() and not pull.decode.tokens.any()
    assert not pull.prefill.read_tokens.any()


def test_requests_of_a_lost_node_are_first_again_and_in_order() -> None:
    """pe0 has picked 0 and 1, then is lost; 2 came after them."""
    pull = scheduler(ties="first", scope="group", beta_tokens=15)
    for request in range(3):
        pull.submit(Ask(request, 10, 12, 5))
    pull.fetch(GroupReport("pe0", [EngineReport(0, 0, 0), EngineReport(9, 99, 0)]))
    assert pull.waiting == (1, 3)
    pull.lose("pe0")
    assert pull.bereft == ""
    assert pull.waiting == (3, 3)
    pull.fetch(GroupReport("pe1", IDLE))
    placed = pull.fetch(GroupReport("de0", [EngineReport(0, 0, 1000)] * 2))
    assert [each.request for each in placed] == [0, 1, 2]
    assert {each.prefill[0] for each in placed} == {"pe1"}
    pull.lose("pe1")
    assert pull.bereft == "prefill"


@given(
    st.lists(st.integers(1, 80), max_size=20),
    st.sampled_from(["pe1", "de1"]),
    st.integers(0, 8),
    st.sampled_from(["seeded", "first"]),
)
def test_whoever_is_lost_every_request_is_placed_on_those_that_are_left(
    sizes: list[int], lost: str, when: int, ties: str
) -> None:
    pull = PullScheduler(
        ["pe0", "pe1"], ["de0", "de1"], 2, alpha_tokens=100, beta_tokens=100, ties=ties, seed=3
    )  # type: ignore[arg-type]
    for request, tokens in enumerate(sizes):
        pull.submit(Ask(request, tokens, tokens + 1, tokens))
    placed: dict[int, tuple[str, str]] = {}
    turn = 0
    for _ in range(2 * len(sizes) + 4):
        for node in ("pe0", "de1", "pe1", "de0"):
            if turn == when:
                pull.lose(lost)
            turn += 1
            if node == lost and turn > when:
                continue
            for each in pull.fetch(GroupReport(node, IDLE)):
                assert each.request not in placed
                placed[each.request] = (each.prefill[0], each.decode[0])
                assert turn <= when or lost not in placed[each.request]
                pull.reading(each.request, each.prefill[0], 1)
                pull.ended(each.request)
    assert sorted(placed) == list(range(len(sizes)))
    assert pull.waiting == (0, 0)


def test_a_request_that_an_earlier_scheduler_placed_can_end() -> None:
    pull = scheduler()
    pull.adopt(Ask(4, 10, 12, 5), ("pe0", 0), ("de0", 1))
    pull.fetch(GroupReport("pe0", [EngineReport(1, 10, 0), EngineReport(0, 0, 0)]))
    pull.ended(4)
    assert pull.prefill.tokens.sum() == 10  # what the report says, until the next one
