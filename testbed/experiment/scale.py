"""One scale for a whole run: how a real cluster becomes one that this machine can carry.

Rates shrink by `rate`, bytes by `bytes`; what is left over is time, which stretches by their
quotient.  A transfer that takes 51 ms on 400 Gbit takes 205 ms at rate 4000, bytes 1000, and
every other interval of the experiment (compute, quotas, think times) has to grow alike, or
the proportions that the experiment is about are lost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from testbed.errors import UsageError


@dataclass(frozen=True)
class Scale:
    """The factors between the real cluster and the emulated one.

    Args:
        rate: real rate / emulated rate.
        bytes: real bytes / emulated bytes.

    Raises:
        UsageError: a factor is not a positive, finite number.
    """

    # Read by pydantic where a scenario holds a Scale; a plain dict, so that nobody else pays
    # for importing it.
    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    rate: float = 1.0
    bytes: float = 1.0

    def __post_init__(self) -> None:
        for name in ("rate", "bytes"):
            factor = getattr(self, name)
            if not (math.isfinite(factor) and factor > 0):
                raise UsageError(
                    f"a scale of {name} {factor:g} makes no sense",
                    hint=f"{name} is real / emulated, a positive number such as 1000",
                )

    @property
    def stretch(self) -> float:
        """Emulated time / real time."""
        return self.rate / self.bytes

    def emulated_rate_bps(self, real_bps: float) -> float:
        """The emulated line rate that stands for a real one, in bit/s."""
        return real_bps / self.rate

    def real_rate_bps(self, emulated_bps: float) -> float:
        """The real rate that an emulated one stands for: also of a measured throughput."""
        return emulated_bps * self.rate

    def emulated_bytes(self, real_bytes: float) -> float:
        """The emulated size of a real amount of data; not rounded."""
        return real_bytes / self.bytes

    def real_bytes(self, emulated_bytes: float) -> float:
        """The real amount of data that an emulated one stands for."""
        return emulated_bytes * self.bytes

    def emulated_s(self, real_s: float) -> float:
        """How long something that takes `real_s` takes here, in seconds."""
        return real_s * self.stretch

    def real_s(self, emulated_s: float) -> float:
        """The real time that a measured one stands for, in seconds."""
        return emulated_s / self.stretch

    def emulated_per_s(self, real_per_s: float) -> float:
        """The emulated frequency (arrivals, turns) of a real one, per second."""
        return real_per_s / self.stretch

    def real_per_s(self, emulated_per_s: float) -> float:
        """The real frequency that a measured one stands for, per second."""
        return emulated_per_s * self.stretch

    def realised(self, real_bytes: float, emulated_bytes: int) -> Scale:
        """The scale that a rounded size really has.

        Bytes come whole: a 45.3-byte unit becomes one of 45, and the byte factor with it.

        Args:
            real_bytes: size of a unit in the real cluster.
            emulated_bytes: its size here, after rounding.
        """
        if emulated_bytes < 1:
            raise UsageError(
                f"at this scale a unit of {real_bytes:g} bytes has none left",
                hint="choose a smaller scale of bytes",
            )
        return Scale(rate=self.rate, bytes=real_bytes / emulated_bytes)
