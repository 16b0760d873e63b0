"""The largest scale that a machine carries: the smallest factors between real and emulated.

Factors are tried, not solved for: whatever a forecast holds is then in the answer.  As long as it
helps, rates and bytes shrink alike, so that times, and with them the turns that fit a window, stay:
`stretch` is the scenario's.  A Layer Block has n whole bytes, and the largest n that fits is taken.
Where not even a smaller n helps (messages, timers and generated tokens are not bytes) bytes stay as
far as memory allows, and rates alone shrink: turns become rarer.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from agents.capacity import MachineLimits
from agents.caps import Shape
from agents.costing.costs import MachineCosts
from agents.forecast import Forecast, forecast
from agents.needs import Site
from agents.replayed import Replayed
from agents.settings import DualPathScenario
from testbed.errors import ScenarioError
from testbed.experiment.scale import Scale
from testbed.plan.graph import LEAST_RATE_BPS, MOST_RATE_BPS

_RATE_DIGITS, _BYTES_DIGITS = 4, 8
_STEPS_PER_DECADE = 90  # of rates: two significant digits
_DECADES = 6


class Carried:
    """What this machine carries of one scenario.

    Args:
        scenario: at a scale of its own.
        site: its cluster, at that scale.
        costs, limits: of the machine.
    """

    def __init__(
        self, scenario: DualPathScenario, site: Site, costs: MachineCosts, limits: MachineLimits
    ) -> None:
        self._scenario, self._site = scenario, site
        self._costs, self._limits = costs, limits
        self._replayed = Replayed()

    def largest(self) -> Scale | None:
        """The largest scale that fits; None if none does."""
        if self._scenario.kv == "transformer":  # computes real bytes: they have no scale
            return self._least_rate(self._scenario.scale.bytes)
        n = self._largest(self._alike, self.fits, self._most_bytes)
        if n:
            return self._alike(n)
        own = max(1, round(self._layer_block_bytes / self._scenario.scale.bytes))
        n = self._largest(self._scale_of, self._has_memory, own)
        return self._least_rate(self._scale_of(n).bytes) if n else None

    def fits(self, scale: Scale) -> bool:
        """Whether the scenario can be carried at a scale."""
        found = self._at(scale)
        return found is not None and self._limits.carry(
            found.cores, found.process_cores, found.memory_bytes
        )

    @property
    def _layer_block_bytes(self) -> float:
        """Of the real model."""
        layout, realised = self._scenario.layout, self._scenario.realised_scale
        return layout.layer_block_bytes * realised.bytes

    @property
    def _most_bytes(self) -> int:
        """Of a Layer Block: there is no larger scale than the real one."""
        return max(1, math.floor(self._layer_block_bytes))

    def _scale_of(self, n: int) -> Scale:
        """With Layer Blocks of n bytes, at the scenario's rate."""
        exact = self._layer_block_bytes / n
        return Scale(self._scenario.scale.rate, _rounded(exact, _BYTES_DIGITS))

    def _alike(self, n: int) -> Scale:
        """With Layer Blocks of n bytes, and the scenario's stretch."""
        size = self._scale_of(n).bytes
        return Scale(_rounded_up(self._scenario.scale.stretch * size, _RATE_DIGITS), size)

    def _least_rate(self, size: float) -> Scale | None:
        """The smallest factor of rates in two digits for a factor of bytes."""
        lowest = math.floor(math.log10(self._scenario.scale.rate)) - 1

        def at(step: int) -> Scale:
            decade, digits = divmod(_DECADES * _STEPS_PER_DECADE - step, _STEPS_PER_DECADE)
            return Scale((10 + digits) * 10.0 ** (lowest - 1 + decade), size)

        step = self._largest(at, self.fits, _DECADES * _STEPS_PER_DECADE)
        return at(step) if step else None

    def _largest(
        self, scale_of: Callable[[int], Scale], fits: Callable[[Scale], bool], most: int
    ) -> int:
        """The largest number whose scale fits; they begin where the kernel can shape the links."""
        below = largest(lambda n: min(self._rates_bps(scale_of(n))) < LEAST_RATE_BPS, most)
        found = largest(lambda n: fits(scale_of(below + n)), most - below)
        return below + found if found else 0

    def _has_memory(self, scale: Scale) -> bool:
        found = self._at(scale)
        return found is not None and found.memory_bytes <= self._limits.allowed_bytes

    def _at(self, scale: Scale) -> Forecast | None:
        """The forecast at a scale; None if the cluster cannot be that large or small."""
        rates_bps = self._rates_bps(scale)
        if min(rates_bps) < LEAST_RATE_BPS or max(rates_bps) > MOST_RATE_BPS:
            return None
        scenario = self._scenario.model_copy(update={"scale": scale})
        site = self._site._replace(shape=self._shape(scale))
        try:
            return forecast(scenario, site, self._costs, self._replayed)
        except ScenarioError:
            return None  # a capacity that is given in emulated bytes does not hold it

    def _shape(self, scale: Scale) -> Shape:
        return self._site.shape.slower(scale.rate / self._scenario.scale.rate)

    def _rates_bps(self, scale: Scale) -> list[float]:
        """Of the links; a storage node's is as fast as all that it may serve."""
        shape = self._shape(scale)
        storage_bps = (shape.prefill + shape.decode) * shape.snic_bps
        return [shape.snic_bps, shape.cnic_bps, shape.pcie_bps or shape.cnic_bps, storage_bps]


def largest(fits: Callable[[int], bool], most: int) -> int:
    """The largest number from 1 to `most` that fits, if all smaller ones do; 0 if none does."""
    if most < 1 or not fits(1):
        return 0
    low, high = 1, 2
    while high <= most and fits(high):
        low, high = high, 2 * high
    high = min(high, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        if fits(middle):
            low = middle
        else:
            high = middle
    return low


def _rounded(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")


def _rounded_up(value: float, digits: int) -> float:
    digit = 10.0 ** (math.floor(math.log10(value)) - digits + 1)
    return float(f"{math.ceil(value / digit - 1e-9) * digit:.{digits}g}")
