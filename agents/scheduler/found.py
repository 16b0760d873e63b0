"""What a scheduler that takes another's place finds at the nodes, until its turns come again.

Nodes say what they serve, the client submits again what it has no answer to, in any order: nothing
is decided before all nodes have spoken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from agents.control.messages import Assign, Done
from agents.numbers import turn_of


class Found:
    """Tries that engines have since an earlier scheduler.

    Args:
        nodes: that have to report; none if there was no scheduler before.
    """

    def __init__(self, nodes: Iterable[str]) -> None:
        self._missing = set(nodes)
        self._jobs: dict[int, Assign] = {}
        self._ended: dict[int, Done] = {}
        self.all_reported = asyncio.Event()
        self._check()

    def reported(self, node: str, jobs: Iterable[Assign]) -> None:
        """A node has said what it serves."""
        self._jobs.update({job.request: job for job in jobs})
        self._missing.discard(node)
        self._check()

    def lose(self, node: str) -> None:
        """A node is lost: it is not waited for, and what it serves is of no use.

        It may have been lost before, and be there all the same.
        """
        for job in [job for job in self._jobs.values() if job.decode.node == node]:
            self._forget(job)
        self._missing.discard(node)
        self._check()

    def ended(self, done: Done) -> bool:
        """A try has ended; whether it is one of these, whose turn has not come again yet."""
        if done.request not in self._jobs:
            return False
        self._ended[done.request] = done
        return True

    def take(self, turn: int) -> tuple[Assign | None, Done | None]:
        """The try that engines have of a turn, if any, and its end if it has ended meanwhile."""
        jobs = [job for job in self._jobs.values() if turn_of(job.request) == turn]
        if not jobs:
            return None, None
        ended = self._ended.get(jobs[0].request)
        self._forget(jobs[0])
        return jobs[0], ended

    def _forget(self, job: Assign) -> None:
        del self._jobs[job.request]
        self._ended.pop(job.request, None)

    def _check(self) -> None:
        if not self._missing:
            self.all_reported.set()
