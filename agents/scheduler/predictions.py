"""What the cost model said of each request, kept until what happened can be set beside it."""

from __future__ import annotations

from agents.control.messages import Done
from agents.records import PredictionRecord
from agents.scheduler.costs import Finish, by_both, by_decode, by_peer, by_prefill
from agents.scheduler.views import Choice, NodeView, RequestView, Split


class Predictions:
    """Predictions of the requests that are under way, whatever policy chose their paths."""

    def __init__(self) -> None:
        self._open: dict[int, tuple[dict[str, Finish], Finish]] = {}

    def foresee(
        self, request: RequestView, prefill: NodeView, decode: NodeView, choice: Choice
    ) -> None:
        """Predict a request by every path, when its own has been chosen."""
        ways = {
            "pe": by_prefill(request, prefill, decode),
            "de": by_decode(request, prefill, decode),
        }
        if (peer := by_peer(request, prefill, decode)) is not None:
            ways["peer"] = peer
        if isinstance(choice, Split):
            chosen = by_both(request, prefill, decode, choice.de_share)
        else:
            chosen = ways[choice]
        self._open[request.request] = (ways, chosen)

    def ended(self, done: Done) -> PredictionRecord | None:
        """A request has ended: the record, if it was foreseen and ended well."""
        foreseen = self._open.pop(done.request, None)
        if foreseen is None or done.error or not done.t_read_end:  # or nothing was moved
            return None
        ways, chosen = foreseen
        return PredictionRecord(
            request=done.request,
            path=done.path,
            pe_s=ways["pe"].total_s,
            de_s=ways["de"].total_s,
            peer_s=ways["peer"].total_s if "peer" in ways else None,
            chosen_s=chosen.total_s,
            chosen_read_s=chosen.read_s,
            read_s=done.t_read_end - done.t_scheduled,
            first_token_s=done.t_first_token - done.t_scheduled,
        )
