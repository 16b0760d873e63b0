"""Recent rates of every node, from what nodes say that their NICs have carried."""

from __future__ import annotations

from collections.abc import Mapping

from agents.scheduler.views import Rates

# What a message says counts this much less with every later one of its node and way.
DECAY = 0.75


class RecentRates:
    """Bytes over busy seconds, both decaying: the last four messages weigh two thirds.

    Args:
        token_bytes: KV of a token.
        line: rates to go by until something has been measured.
    """

    def __init__(self, token_bytes: float, line: Rates) -> None:
        self._token_bytes = token_bytes
        self._line = line
        self._carried: dict[tuple[str, str], tuple[float, float]] = {}

    def measured(self, node: str, carried: Mapping[str, tuple[int, float]]) -> None:
        """A node has said what it carried.

        Args:
            carried: way -> bytes, busy seconds.
        """
        for way, (size_bytes, busy_s) in carried.items():
            before_bytes, before_s = self._carried.get((node, way), (0.0, 0.0))
            self._carried[node, way] = (
                DECAY * before_bytes + size_bytes,
                DECAY * before_s + busy_s,
            )

    def of(self, node: str) -> Rates:
        """Rates of a node, in tokens per second."""
        measured = {
            way: size_bytes / busy_s / self._token_bytes
            for way in Rates._fields
            for size_bytes, busy_s in [self._carried.get((node, way), (0.0, 0.0))]
            if size_bytes > 0 and busy_s > 0
        }
        return self._line._replace(**measured)


def line_rates(snic_bps: float, cnic_bps: float, token_bytes: float) -> Rates:
    """What the lines could carry at most.

    Args:
        snic_bps, cnic_bps: of a node's NICs.
        token_bytes: KV of a token.
    """
    snic, cnic = snic_bps / 8 / token_bytes, cnic_bps / 8 / token_bytes
    return Rates(read=snic, load=cnic, fetch=cnic, peer=cnic)
