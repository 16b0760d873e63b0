"""What a run needs of this machine, and whether it has it.

The costs were measured on a machine of two cores, payload moved in Python through shaped links;
they are parameters, for other machines differ.  A refusal names the scale that would fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from agents.caps import Shape, TurnBytes, turn_loads
from testbed.errors import CapacityError
from testbed.units import show_size

_GIB = 2**30
_MEMORY_SHARE = 0.8  # the rest is for the system, the page cache and what was not foreseen


@dataclass(frozen=True)
class CpuCosts:
    """CPU seconds of the whole machine, softirqs included.

    Args:
        shaper_s_per_gib: for a GiB through one shaper, by the shaper's rate in bit/s.  Slower
            links send smaller aggregates, hence more of them; linear in the logarithm between.
        payload_s_per_gib: for a GiB sent and received by programs.
        check_s_per_gib: for a GiB made, or compared with what it should be.
        operation_s: for one control message or one completed transfer.
    """

    shaper_s_per_gib: Mapping[float, float] = field(
        default_factory=lambda: {100e6: 1.1, 500e6: 0.5, 2e9: 0.4}
    )
    payload_s_per_gib: float = 1.0
    check_s_per_gib: float = 0.7
    operation_s: float = 60e-6

    def shaper_at(self, rate_bps: float) -> float:
        """CPU seconds for a GiB through one shaper of that rate; flat beyond the ends."""
        points = sorted(self.shaper_s_per_gib.items())
        logs = np.log([rate for rate, _ in points])
        return float(np.interp(np.log(rate_bps), logs, [cost for _, cost in points]))


@dataclass(frozen=True)
class TurnWork:
    """What a turn asks of programs, besides its bytes.

    Args:
        layer_groups: in which prefill moves it.
        stored_blocks: generated blocks, each stored on its own.
    """

    layer_groups: float
    stored_blocks: float

    @property
    def messages(self) -> float:
        """Control messages of a turn: its own, a credit per group, three per put."""
        return 12 + self.layer_groups + 3 * (1 + self.stored_blocks)

    @property
    def operations(self) -> float:
        """Messages, and transfers: each group goes to HBM and comes back."""
        return self.messages + 2 * self.layer_groups + 2 * (1 + self.stored_blocks) + 4


@dataclass(frozen=True)
class MachineNeed:
    """What a run needs of the machine.

    Args:
        cores: busy on average.
        memory_bytes: arenas and stored blocks.
        messages_per_s: control messages.
    """

    cores: float
    memory_bytes: float
    messages_per_s: float


def cores_needed(
    shape: Shape,
    turn: TurnBytes,
    work: TurnWork,
    turns_per_s: float,
    share: float,
    costs: CpuCosts,
) -> float:
    """Cores that are busy on average at a rate of turns.

    Args:
        shape, turn: emulated.
        work: of the mean turn.
        turns_per_s: emulated.
        share: of reads on the prefill side.
        costs: of the machine.
    """
    loads = turn_loads(turn, share, loopback=shape.loopback)
    # A storage link is shaped where it leaves the one end and where it enters the other.
    snic = 2 * sum(size for nic, size in loads.items() if "snic" in nic)
    cnic = sum(size for nic, size in loads.items() if "cnic" in nic)
    # Read and written back over SNICs, into prefill HBM, returned, into decode HBM, and out of it.
    returned = share * turn.hit + turn.miss
    payload = 2 * turn.hit + returned + turn.prompt + turn.miss + 2 * turn.generated
    # Hits at prefill and at decode; misses and generated blocks are made, then checked or stored.
    checked = 2 * turn.hit + 2 * turn.miss + 2 * turn.generated
    per_turn_s = (
        snic * costs.shaper_at(shape.snic_bps)
        + cnic * costs.shaper_at(shape.cnic_bps)
        + payload * costs.payload_s_per_gib
        + checked * costs.check_s_per_gib
    ) / _GIB + work.operations * costs.operation_s
    return turns_per_s * per_turn_s


def collective_cores(
    costs: CpuCosts,
    *,
    cnic_bytes_per_s: float,
    cnic_bps: float,
    nvlink_bytes_per_s: float,
    nvlink_bps: float,
    messages_per_s: float,
) -> float:
    """Cores that collectives keep busy: each byte crosses two shapers and is sent and received.

    Args:
        costs: of the machine.
        cnic_bytes_per_s, nvlink_bytes_per_s: sent, over links of `cnic_bps` and `nvlink_bps`.
        messages_per_s: transfers.
    """
    shaping_s = cnic_bytes_per_s * costs.shaper_at(cnic_bps)
    shaping_s += nvlink_bytes_per_s * costs.shaper_at(nvlink_bps)
    moving_s = (cnic_bytes_per_s + nvlink_bytes_per_s) * costs.payload_s_per_gib
    return (2 * shaping_s + moving_s) / _GIB + messages_per_s * costs.operation_s


def least_rate_factor(
    cores_at: Callable[[float], float], allowed_cores: float, limit: float = 2.0**20
) -> float | None:
    """The smallest factor to slow all rates by, so that no more than `allowed_cores` are busy.

    Args:
        cores_at: cores at a factor; falls as the factor grows.
        limit: factors beyond are not considered.

    Returns:
        A factor of 1 or more in two significant digits, rounded up; None if none is enough.
    """
    low = high = 1.0
    while cores_at(high) > allowed_cores:
        low, high = high, high * 2
        if high > limit:
            return None
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        if cores_at(middle) > allowed_cores:
            low = middle
        else:
            high = middle
    if high == 1.0:
        return 1.0
    digit = 10.0 ** (math.floor(math.log10(high)) - 1)
    return math.ceil(high / digit) * digit


def check_machine(
    need: MachineNeed,
    *,
    cores: int,
    cpu_share: float,
    memory_bytes: float,
    cores_at: Callable[[float], float],
    rate_scale: float,
    bytes_scale: float,
) -> None:
    """Refuse a run that this machine cannot carry.

    Args:
        need: what the run is predicted to need.
        cores: of the machine.
        cpu_share: of them that a run may keep busy.
        memory_bytes: available.
        cores_at: cores needed when rates are slower by a factor.
        rate_scale, bytes_scale: of the scenario, for the proposal.

    Raises:
        CapacityError: with the largest cluster, that is the least scale, that fits.
    """
    allowed = cores * cpu_share
    if need.cores > allowed:
        factor = least_rate_factor(cores_at, allowed)
        if factor is None:
            hint = "no scale.rate is enough: choose a smaller topology or a larger scale.bytes"
        else:
            hint = f"set scale.rate to {rate_scale * factor:g} or more, or use fewer nodes"
        raise CapacityError(
            f"at scale.rate {rate_scale:g} the run would keep {need.cores:.1f} cores busy; "
            f"{cpu_share:.0%} of the {cores} of this machine is {allowed:.1f}",
            hint=hint,
        )
    allowed_bytes = memory_bytes * _MEMORY_SHARE
    if need.memory_bytes > allowed_bytes:
        scale = bytes_scale * need.memory_bytes / allowed_bytes
        raise CapacityError(
            f"at scale.bytes {bytes_scale:g} the run would need {show_size(need.memory_bytes)} of "
            f"memory; {_MEMORY_SHARE:.0%} of what is available is {show_size(allowed_bytes)}",
            hint=f"set scale.bytes to {math.ceil(scale):g} or more, or use fewer agents",
        )
