"""Batches of a prefill engine: FIFO, under the quota, nothing lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agents.engines.batch import Work, fitting_tokens, form_batch

UNIT = 64
works = st.lists(
    st.builds(Work, st.integers(0, 30_000), st.integers(1, 3_000)), min_size=1, max_size=12
)
quotas = st.floats(1e-6, 5e6)


def attention(context: int, tokens: int) -> float:
    """Each token attends to what is before it: quadratic in its own chunk."""
    return tokens * (1 + context / 100) + tokens * tokens / 200


def form(waiting: list[Work], quota: float, room: int = 1_000) -> list[int]:
    asked: list[int] = []

    def admit(number: int) -> bool:
        asked.append(number)
        return number < room

    batch = form_batch(waiting, quota_s=quota, unit_tokens=UNIT, attention_s=attention, admit=admit)
    assert asked == list(range(len(asked)))  # each once, first come first
    assert len(asked) - len(batch) in (0, 1)  # who was refused ended the batch
    return batch


@given(works, quotas)
def test_the_quota_is_kept_but_for_a_single_least_chunk(waiting: list[Work], quota: float) -> None:
    batch = form(waiting, quota)
    spent = sum(attention(w.context_tokens, n) for w, n in zip(waiting, batch, strict=False))
    assert spent <= quota * (1 + 1e-9) or (
        len(batch) == 1 and batch[0] == min(UNIT, waiting[0].tokens)
    )


@given(works, quotas)
def test_it_is_fifo_and_cuts_only_the_last_at_a_unit(waiting: list[Work], quota: float) -> None:
    batch = form(waiting, quota)
    assert batch
    assert batch[:-1] == [work.tokens for work in waiting[: len(batch) - 1]]
    last = waiting[len(batch) - 1]
    assert batch[-1] == last.tokens or (0 < batch[-1] < last.tokens and batch[-1] % UNIT == 0)


@given(works, quotas)
def test_nothing_more_would_fit(waiting: list[Work], quota: float) -> None:
    batch = form(waiting, quota)
    left = quota - sum(attention(w.context_tokens, n) for w, n in zip(waiting, batch, strict=False))
    last = waiting[len(batch) - 1]
    if batch[-1] < last.tokens:
        cut, more = batch[-1], min(last.tokens, batch[-1] + UNIT)
        context = last.context_tokens
        assert attention(context, more) - attention(context, cut) > left - 1e-6
    elif len(batch) < len(waiting):
        assert attention(waiting[len(batch)].context_tokens, UNIT) > left - 1e-6 or (
            waiting[len(batch)].tokens < UNIT
        )


@given(works, quotas)
def test_iterations_compute_every_token_once_in_order(waiting: list[Work], quota: float) -> None:
    left = list(waiting)
    finished = 0
    computed = 0
    while left:
        for tokens in form(left, quota):
            work = left[0]
            computed += tokens
            if tokens == work.tokens:
                left.pop(0)
                finished += 1
            else:
                left[0] = Work(work.context_tokens + tokens, work.tokens - tokens)
    assert finished == len(waiting)
    assert computed == sum(work.tokens for work in waiting)


@given(works, st.integers(0, 12))
def test_hbm_bounds_the_batch(waiting: list[Work], room: int) -> None:
    assert len(form(waiting, 1e12, room)) == min(room, len(waiting))


@given(st.integers(0, 30_000), st.integers(1, 3_000), quotas)
def test_the_cut_is_the_largest_that_fits(context: int, tokens: int, quota: float) -> None:
    found = fitting_tokens(Work(context, tokens), quota, UNIT, attention)
    candidates = [*range(0, tokens, UNIT), tokens]
    assert found == max(n for n in candidates if n == 0 or attention(context, n) <= quota)


def test_a_cut_that_takes_the_quota_exactly_is_taken() -> None:
    work = Work(0, 3 * UNIT)
    assert form([work], attention(0, 2 * UNIT)) == [2 * UNIT]


def test_nobody_overtakes_what_is_left_of_a_cut_request() -> None:
    """The second would fit what the first could not use."""
    long, short = Work(30_000, 3_000), Work(0, 1)
    quota = attention(30_000, UNIT) + attention(0, 1)
    assert form([long, short], quota) == [UNIT]
