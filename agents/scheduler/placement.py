"""Which engine serves a request: the one with the least unfinished tokens.

Decisions only; the scheduler's process asks for them and says when a request has ended.
"""

from __future__ import annotations

from collections.abc import Sequence


class LeastTokens:
    """Places requests on the engines of one role, evenly over nodes and then over engines.

    Load is counted in tokens of unfinished requests, hit tokens included, as the paper's scheduler
    counts it (DualPath, section 6).  A node's engines share its storage NIC, so the node is
    chosen first, by its tokens, and then the engine; equals are taken in order of index.

    Args:
        engines: (node, rail) of each engine; every node has the same number of them.

    Raises:
        ValueError: there is no engine, one is named twice, or nodes differ in size.
    """

    def __init__(self, engines: Sequence[tuple[str, int]]) -> None:
        self._tokens: dict[str, dict[int, int]] = {}
        for node, rail in engines:
            rails = self._tokens.setdefault(node, {})
            if rail in rails:
                raise ValueError(f"engine {rail} of {node} is named twice")
            rails[rail] = 0
        if len({len(rails) for rails in self._tokens.values()}) != 1:
            raise ValueError(f"nodes must have engines, all of them as many: {list(engines)}")
        self._placed: dict[int, tuple[str, int, int]] = {}

    def place(self, request: int, tokens: int) -> tuple[str, int]:
        """The (node, rail) that serves a request; its tokens count until `finish`.

        Raises:
            ValueError: the request is placed already.
        """
        if request in self._placed:
            raise ValueError(f"request {request} is placed already")
        # min() keeps the first of equals, and dicts keep the order of `engines`.
        node = min(self._tokens, key=lambda name: sum(self._tokens[name].values()))
        rails = self._tokens[node]
        rail = min(rails, key=rails.__getitem__)
        rails[rail] += tokens
        self._placed[request] = (node, rail, tokens)
        return node, rail

    def finish(self, request: int) -> None:
        """A request has ended, well or not.

        Raises:
            KeyError: it was never placed, or has ended before.
        """
        node, rail, tokens = self._placed.pop(request)
        self._tokens[node][rail] -= tokens

    def tokens(self, node: str) -> int:
        """Unfinished tokens on a node."""
        return sum(self._tokens[node].values())
