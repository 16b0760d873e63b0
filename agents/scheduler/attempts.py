"""Which tries of a turn there were, whether there is another, and what it has to avoid.

A try that failed for a reason of the environment (a block that went, a node that was lost) is
followed by another, of a number of its own; one that failed for a reason that would come again, or
that is a defect, is the end of the turn.  No I/O: whoever drives this says what has failed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from agents.control.messages import Retry, Submit
from agents.numbers import attempt_of, try_number, turn_of
from agents.read_path import Side


class Ended(NamedTuple):
    """A turn that has come to its end.

    Args:
        submit: as the client sent it.
        attempts: tries of it that engines were given.
    """

    submit: Submit
    attempts: int


@dataclass(slots=True)
class _Turn:
    """A turn under way.

    Args:
        number: of the try that is under way, or that failed last.
        begun: tries that were placed.
        failed_side: the side that could not read in the try before, if that was why it failed.
        failed_hits: blocks that storage was thought to have then.
        reread: a try failed because something could not be read.
    """

    submit: Submit
    number: int
    begun: int = 0
    failed_side: Side | None = None
    failed_hits: int = 0
    reread: bool = False


@dataclass(slots=True)
class Attempts:
    """All turns that are under way.

    Args:
        limit: tries that a turn may have in all.
        first: of the tries of a turn; those before it were another scheduler's.
    """

    limit: int
    first: int = 1
    _turns: dict[int, _Turn] = field(default_factory=dict)

    def submit(self, submit: Submit) -> int:
        """A turn has come from the client; the number of its first try.

        Raises:
            ValueError: it is under way already.
        """
        number = try_number(submit.request, self.first)
        self._add(_Turn(submit, number))
        return number

    def adopt(self, submit: Submit, number: int) -> None:
        """A turn has come again, and engines have it since a scheduler before this one.

        Args:
            number: of the try that they have.

        Raises:
            ValueError: it is under way already.
        """
        self._add(_Turn(submit, number, begun=1))

    def _add(self, turn: _Turn) -> None:
        if turn.submit.request in self._turns:
            raise ValueError(f"request {turn.submit.request} is under way already")
        self._turns[turn.submit.request] = turn

    def submitted(self, number: int) -> Submit:
        """The turn of a try, as the client submitted it.

        Raises:
            KeyError: this try is not under way.
        """
        return self._turn(number).submit

    def begin(self, number: int) -> None:
        """A try has been given to its engines."""
        self._turn(number).begun += 1

    def failed(
        self, number: int, retry: Retry, *, side: Side | None = None, hits: int = 0
    ) -> int | None:
        """A try has failed; the number of the next one, or None if there is none.

        Args:
            number: of the try.
            retry: what might help.
            side: that could not read.
            hits: blocks that were to be read.
        """
        turn = self._turn(number)
        if not retry or turn.begun >= self.limit:
            return None
        turn.failed_side, turn.failed_hits = (side, hits) if retry == "reread" else (None, 0)
        turn.reread |= retry == "reread"
        turn.number = try_number(turn_of(number), attempt_of(number) + 1)
        return turn.number

    def side(self, number: int, hits: int) -> Side | None:
        """Which side has to read, whatever the policy says; None if that is the policy's to say.

        Args:
            hits: blocks that storage has now.  If they are as many as when a read failed, the
                blocks were not what was missing: the next try reads on the other side.
        """
        turn = self._turn(number)
        if turn.failed_side is None or hits < turn.failed_hits:
            return None
        return "de" if turn.failed_side == "pe" else "pe"

    def may_read(self, number: int) -> bool:
        """Whether a try may read at all.

        The last one may not, if reads have failed before: it computes everything, so a block that
        goes again and again cannot make a request fail.
        """
        turn = self._turn(number)
        return not turn.reread or turn.begun + 1 < self.limit

    def end(self, number: int) -> Ended:
        """A turn has ended with this try, well or not."""
        turn = self._turn(number)
        del self._turns[turn.submit.request]
        return Ended(turn.submit, turn.begun)

    def _turn(self, number: int) -> _Turn:
        turn = self._turns[turn_of(number)]
        if turn.number != number:
            raise KeyError(number)
        return turn
