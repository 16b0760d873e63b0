"""Answers that are on their way: each has one waiter, and a lost node owes nothing any more."""

from __future__ import annotations

import asyncio

import pytest

from agents.control.replies import Replies
from agents.loss import NodeGone
from testbed.errors import ProgramError


def test_an_answer_goes_to_who_waits_for_its_kind_and_number() -> None:
    async def scene() -> None:
        replies = Replies()
        put, lookup = replies.expect("put", 1), replies.expect("lookup", 1)
        assert replies.resolve("lookup", 1, "found")
        assert await lookup == "found"
        assert isinstance(put, asyncio.Future) and not put.done()
        assert not replies.resolve("lookup", 1, "again")  # nobody waits for it any more
        assert not replies.resolve("put", 2, "another's")

    asyncio.run(scene())


def test_two_do_not_wait_for_one_answer() -> None:
    async def scene() -> None:
        replies = Replies()
        replies.expect("put", 1)
        with pytest.raises(ProgramError, match="two waiters for put 1"):
            replies.expect("put", 1)

    asyncio.run(scene())


def test_what_a_lost_node_owed_and_will_be_asked_is_gone() -> None:
    async def scene() -> None:
        replies = Replies()
        owed, others = replies.expect("put", 1, "st0"), replies.expect("put", 2, "st1")
        answered = replies.expect("put", 3, "st0")
        assert replies.resolve("put", 3, "in time")
        replies.lose("st0")
        with pytest.raises(NodeGone, match="st0"):
            await owed
        assert await answered == "in time"
        with pytest.raises(NodeGone, match="st0"):
            await replies.expect("put", 4, "st0")
        assert replies.resolve("put", 2, "there") and await others == "there"

    asyncio.run(scene())


def test_an_answer_may_be_an_error() -> None:
    async def scene() -> None:
        replies = Replies()
        waiting = replies.expect("loaded", 1)
        replies.fail("loaded", 1, ValueError("given up"))
        replies.fail("loaded", 2, ValueError("nobody hears it"))
        with pytest.raises(ValueError, match="given up"):
            await waiting

    asyncio.run(scene())
