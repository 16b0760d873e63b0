"""What storage sent for reads, and what became of it: every byte is somebody's.

Of nodes that were lost nobody knows what they have sent or received: they are left out on both
sides.
"""

from __future__ import annotations

from typing import NamedTuple

from agents.accounts import node_of
from agents.numbers import turn_of
from agents.recorded import Run
from agents.records import RequestRecord, StorageRecord


class ReadAccount(NamedTuple):
    """KV that storage sent over a whole run, in bytes.

    Args:
        sent: by the storage nodes' own account.
        under_way: of it, what no reader had confirmed at the end of the run.
        verified: arrived for tries of requests that ended well.
        given_up: arrived for tries that did not.
        strange: arrived for no request that has ended.
        read: arrived for tries that ended well, wherever from.
        cached: came from caches instead, for these tries.
        claimed: read from anywhere, by the account of the engines of these tries.
    """

    sent: int
    under_way: int
    verified: int
    given_up: int
    strange: int
    read: int
    cached: int
    claimed: int

    def wrong(self) -> str:
        """Why it does not add up; empty if it does."""
        arrived = self.verified + self.given_up + self.strange
        if self.strange:
            return f"{self.strange} bytes arrived for no request that has ended"
        if not self.sent - self.under_way <= arrived <= self.sent:
            return (
                f"storage sent {self.sent} bytes, of which {self.under_way} were under way at the "
                f"end, and {arrived} arrived"
            )
        if self.read + self.cached != self.claimed:
            return (
                f"{self.read + self.cached} bytes arrived for the requests that ended well, "
                f"whose engines say that they have read {self.claimed}"
            )
        return ""


def read_account(run: Run) -> ReadAccount:
    """The account of a run that was not interrupted."""
    lost = set(run.lost)
    nodes = [node for node in run.of(StorageRecord) if node.process not in lost]
    well = [
        r
        for r in run.of(RequestRecord)
        if not r.error and lost.isdisjoint((node_of(r.prefill), node_of(r.decode)))
    ]
    tries = {r.served_as for r in well}
    ended = {r.request for r in run.of(RequestRecord)}
    arrived = [t for t in run.storage_reads if lost.isdisjoint((t.source, t.target))]
    others = [t for t in arrived if t.request not in run.verified]
    given_up = sum(t.size_bytes for t in others if turn_of(t.request) in ended)
    return ReadAccount(
        sent=sum(node.sent_bytes for node in nodes),
        under_way=sum(node.under_way_bytes for node in nodes),
        verified=sum(t.size_bytes for t in arrived if t.request in run.verified),
        given_up=given_up,
        strange=sum(t.size_bytes for t in others) - given_up,
        read=sum(t.size_bytes for t in run.reads if t.request in tries),
        cached=sum(t.size_bytes for t in run.from_caches if t.request in tries),
        claimed=sum(r.read_bytes for r in well),
    )
