"""Numbers that engines, storage and writes know requests and puts by: 40 bits of an immediate.

A turn of an agent is one request to the client and in the request table.  Engines know every *try*
of it by a number of its own, so a message or a write that comes late can never be taken for one
of the next try.  A turn's first try has the turn's own number.

bits 39..32  tries of the turn before this one
bits 31..24  0; of a put: which decode node's, from 1
bits 23..0   the turn; of a put: which of its node's
"""

from __future__ import annotations

from collections.abc import Iterator

_COUNT_BITS = 24
_NODE_BITS = 8
_TRY_SHIFT = _COUNT_BITS + _NODE_BITS
TRIES = 1 << 8
"""So many tries of a turn can be told apart."""
MOST_ATTEMPTS = 16
"""That `scheduler.attempts` may ask for: so many numbers of a turn are one scheduler's."""
MOST_SCHEDULERS = TRIES // MOST_ATTEMPTS
"""One after the other in a run."""


def try_number(turn: int, attempt: int) -> int:
    """The number of one try of a turn.

    Args:
        turn: the client's number of the request.
        attempt: which try, from 1.

    Raises:
        ValueError: there is no number left for it.
    """
    if not (0 <= turn < 1 << _COUNT_BITS and 1 <= attempt <= TRIES):
        raise ValueError(f"there is no number for try {attempt} of request {turn}")
    return (attempt - 1) << _TRY_SHIFT | turn


def turn_of(number: int) -> int:
    """The turn that a try belongs to."""
    return number & ((1 << _COUNT_BITS) - 1)


def attempt_of(number: int) -> int:
    """Which try of its turn this is, from 1."""
    return (number >> _TRY_SHIFT) + 1


def show_request(number: int) -> str:
    """A number in words: "request 7", "request 7 (try 2)", "put 16777219"."""
    if number >> _COUNT_BITS & ((1 << _NODE_BITS) - 1):
        return f"put {number}"
    attempt = attempt_of(number)
    return f"request {turn_of(number)}" + (f" (try {attempt})" if attempt > 1 else "")


def put_numbers(node: int) -> Iterator[int]:
    """The numbers of a decode node's puts; no request has one of them.

    Args:
        node: its index among the decode nodes.

    Raises:
        ValueError: it is one of more nodes than can be told apart.
    """
    first = (node + 1) << _COUNT_BITS
    if not 0 < first < 1 << _TRY_SHIFT:
        raise ValueError(f"there are no numbers for the puts of decode node {node}")
    return iter(range(first, first + (1 << _COUNT_BITS)))
