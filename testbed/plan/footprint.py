"""What a plan will cost the machine's kernel, before anything of it is made."""

from __future__ import annotations

from typing import NamedTuple

from testbed.errors import CapacityError
from testbed.plan.model import Plan, counts
from testbed.units import show_size

# Kernel memory of an object and its share of what hangs on it, in bytes, as measured on Linux 6.18;
# kinds that are not named are small beside them.
_BYTES = {
    "namespace": 210 * 1024,
    "veth": 49 * 1024,  # of one end
    "ifb": 49 * 1024,
    "shaper": 18 * 1024,
    "class": 1024,
    "filter": 1024,
    "neighbour": 512,
}
_SECONDS_PER_OBJECT = 30e-6  # made, read back and compared; a little more where all know all
_MEMORY_SHARE = 0.5


class Footprint(NamedTuple):
    """Estimates for one plan.

    Args:
        objects: kernel objects.
        memory_bytes: of the kernel's.
        bring_up_s: until it is up and verified.
    """

    objects: int
    memory_bytes: int
    bring_up_s: float


def footprint(plan: Plan) -> Footprint:
    """Estimate what a plan costs."""
    counted = counts(plan)
    objects = counted.total()
    memory_bytes = sum(_BYTES.get(kind, 0) * count for kind, count in counted.items())
    return Footprint(objects, memory_bytes, objects * _SECONDS_PER_OBJECT)


def check_footprint(found: Footprint, available_bytes: float) -> None:
    """Refuse a plan that the machine's memory cannot hold.

    Raises:
        CapacityError: it would take more than half of what is available.
    """
    allowed_bytes = _MEMORY_SHARE * available_bytes
    if found.memory_bytes > allowed_bytes:
        raise CapacityError(
            f"{found.objects} kernel objects would take about {show_size(found.memory_bytes)} of "
            f"memory; half of what is available is {show_size(allowed_bytes)}",
            hint="take fewer nodes or GPUs per node, or fewer leaves (--leaves)",
        )
