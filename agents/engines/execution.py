"""What engines exchange while they execute the model: the seam to its traffic.

Prefill calls it between attention and FFN of a layer group, when all ranks of the node are there;
decode calls it in every step.  The time that it takes is the engine's.
"""

from __future__ import annotations

from typing import Protocol


class ModelExecution(Protocol):
    """The traffic of model execution."""

    async def layers(self, rank: int, tokens: int, layers: int) -> None:
        """Exchange what an engine's tokens need in some layers; returns when it is done.

        Args:
            rank: engine of this node.
            tokens: that the engine computes.
            layers: of the model.
        """

    async def flush(self, rank: int) -> None:
        """The engine rests: exchange what is still being put together of layers that were fused."""


class NoTraffic:
    """Engines that exchange nothing."""

    async def layers(self, rank: int, tokens: int, layers: int) -> None:
        """Return at once."""

    async def flush(self, rank: int) -> None:
        """Return at once."""
