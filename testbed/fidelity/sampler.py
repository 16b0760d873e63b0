"""The kernel's counters of a cluster: of its NICs every 100 ms, by a thread; of all else twice.

Those of hours would fill the memory (2 GiB an hour of a small 2P4D).  So what lies back is
thinned: whenever there are `MOST_SAMPLES`, every second one goes, and from then on half as many
are taken, down to one each 400 ms.  Counters are totals: only detail in time is lost.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from testbed.errors import KernelError
from testbed.kernel.samples import LinkSample, MeterSample

if TYPE_CHECKING:
    from testbed.lab import Lab

SAMPLE_PERIOD_S = 0.1
LONGEST_PERIOD_S = 0.4  # rates are checked over spans of a second
MOST_SAMPLES = 6000

DomainTcp = Mapping[str, Mapping[str, int]]  # domain -> counter -> value
DomainLinks = Mapping[str, Mapping[str, LinkSample]]  # domain -> device -> counters


class Counted(NamedTuple):
    """What the kernel counted of a cluster, from before a load to after it.

    Args:
        samples: of its NICs, in order.
        tcp: of each domain's TCP, before and after; None where it was not read.
        links: of each domain's devices, before and after.
        lost: why the samples end before the load does; empty if they do not.
    """

    samples: Sequence[Sequence[MeterSample]] = ()
    tcp: tuple[DomainTcp | None, DomainTcp | None] = (None, None)
    links: tuple[DomainLinks | None, DomainLinks | None] = (None, None)
    lost: str = ""


class Sampler:
    """Reads counters from its making until `stop`.

    A shaper that vanishes meanwhile is a finding: reading ends there, and `Counted.lost` says so.
    Any other error in its thread is raised by `stop`: samples never end silently.

    Args:
        lab: whose counters.
        period_s: between two readings, at first.
    """

    def __init__(self, lab: Lab, period_s: float = SAMPLE_PERIOD_S) -> None:
        self._lab = lab
        self._period_s = period_s
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._lost = ""
        self._before = lab.tcp_counters(), lab.link_counters()
        self.samples: list[list[MeterSample]] = [lab.counters()]
        self._thread = threading.Thread(target=self._work, name="sampler", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        due_s = time.monotonic()
        try:
            while not self._stop.is_set() and not self._lost:
                due_s += self._period_s
                self._stop.wait(max(0.0, due_s - time.monotonic()))
                self._take()
        except BaseException as error:
            self._error = error

    def _take(self) -> None:
        try:
            self.samples.append(self._lab.counters())
        except KernelError as error:
            self._lost = error.message
        if len(self.samples) >= MOST_SAMPLES and 2 * self._period_s <= LONGEST_PERIOD_S:
            del self.samples[1::2]
            self._period_s *= 2

    def stop(self) -> Counted:
        """End, with one last reading of everything."""
        self._stop.set()
        self._thread.join()
        if self._error is not None:
            raise self._error
        if not self._lost:
            self._take()
        (tcp, links), lab = self._before, self._lab
        return Counted(
            self.samples, (tcp, lab.tcp_counters()), (links, lab.link_counters()), self._lost
        )
