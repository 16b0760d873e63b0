"""The costs of this machine, kept under XDG_CACHE_HOME: measured once, and known by their age.

They hold for one kernel, processor, number of cores and version of the testbed; after a change of
any of them they are measured again.  Whatever is not measured on this machine says so.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from agents.costing.costs import REFERENCE, MachineCosts
from testbed.errors import TestbedError
from testbed.experiment.provenance import DISTRIBUTION, machine

BUSY_SPREAD = 0.3
"""A measurement that was disturbed by more is not to be relied on."""

_REMEDY = "`testbed costs --measure`, on an idle machine"
_RETRY_S = 3600.0  # until a measurement on a busy machine is tried again
_LAYOUT = 3  # of the file; others are measured anew


class Identity(msgspec.Struct, frozen=True):
    """What costs hold for."""

    kernel: str
    cpu: str | None
    cores: int
    version: str
    layout: int = _LAYOUT

    @property
    def key(self) -> str:
        """A name for its file."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:16]


class Kept(msgspec.Struct, frozen=True):
    """What the file holds.

    Args:
        identity: of the machine.
        measured_s: when, in seconds since the epoch.
        costs: as measured.
        other_cores: that were busy with something else meanwhile.
        spread: by how much others' packets disturbed it, see `agents.costing.links.LinkCost`.
    """

    identity: Identity
    measured_s: float
    costs: MachineCosts
    other_cores: float
    spread: float

    @property
    def steady(self) -> bool:
        """Whether others left it alone enough."""
        return self.spread <= BUSY_SPREAD


class Known(NamedTuple):
    """The costs to predict with.

    Args:
        costs: to use.
        kept: what is known of this machine; None if nothing is.
        age_s: of that.
        why: for the reference's costs: why not this machine's.
    """

    costs: MachineCosts
    kept: Kept | None
    age_s: float | None
    why: str = ""

    @property
    def of_this_machine(self) -> bool:
        """Whether the costs are its own."""
        return not self.why

    def figures(self) -> dict[str, Any]:
        """For `--json`, run.json and people."""
        kept = self.kept
        return {
            "of": "this machine" if self.of_this_machine else "reference",
            "why": self.why or None,
            "age_s": self.age_s,
            "other_cores": None if kept is None else kept.other_cores,
            "spread": None if kept is None else kept.spread,
        }


def this_machine() -> Identity:
    """The identity of this machine and this testbed."""
    try:
        version = metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        version = "not installed"
    cpu = machine()["cpu_model"]
    return Identity(platform.release(), cpu, len(os.sched_getaffinity(0)), version)


def directory() -> Path:
    """Where costs are kept: $XDG_CACHE_HOME/dualpath-testbed, by default under ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG base directory specification: a relative path is to be ignored.
    base = Path(home) if Path(home).is_absolute() else Path.home() / ".cache"
    return base / DISTRIBUTION


def read(identity: Identity, place: Path) -> Kept | None:
    """What is kept for a machine; None if nothing is, or it cannot be read."""
    try:
        found = msgspec.json.decode(_file(identity, place).read_bytes(), type=Kept)
    except (OSError, msgspec.MsgspecError):
        return None  # it is a cache: what is wrong with it is mended by measuring
    return found if found.identity == identity else None


def write(kept: Kept, place: Path) -> None:
    """Keep costs.

    Raises:
        OSError: they cannot be written.
    """
    place.mkdir(parents=True, exist_ok=True)
    file = _file(kept.identity, place)
    part = file.with_suffix(f".{os.getpid()}")
    part.write_bytes(msgspec.json.format(msgspec.json.encode(kept), indent=2))
    part.replace(file)


def known(now_s: float | None = None) -> Known:
    """The costs to predict with, without measuring any.

    What was much disturbed is not taken: it may be several times too much.
    """
    kept = read(this_machine(), directory())
    if kept is None:
        return Known(REFERENCE, None, None, f"not measured yet: {_REMEDY}")
    age_s = max(0.0, (now_s or time.time()) - kept.measured_s)
    if not kept.steady:
        why = f"packets of others disturbed them: {_REMEDY}"
        return Known(REFERENCE, kept, age_s, why)
    return Known(kept.costs, kept, age_s)


def measured_once(report: Callable[[str], None]) -> Known:
    """The costs of this machine, measured if they never were; the reference's if they cannot be.

    Args:
        report: told what is being measured, and why the reference's costs are taken.
    """
    found = known()
    if found.of_this_machine or (found.age_s is not None and found.age_s < _RETRY_S):
        return found
    place = directory()
    try:
        place.mkdir(parents=True, exist_ok=True)
        with _alone(place):
            again = known()  # somebody else may have measured meanwhile
            if again.kept == found.kept:
                report("measuring what the agents' work costs this machine, once: some 30 s")
                measure_now(report)
                again = known()
    except (OSError, TestbedError) as error:
        why = error.message if isinstance(error, TestbedError) else str(error)
        again = found._replace(why=why)
    if not again.of_this_machine:
        report(f"the costs of a reference machine are taken: {again.why}")
    return again


def measure_now(report: Callable[[str], None]) -> Kept:
    """Measure, and keep.

    Raises:
        CapacityError: the machine is too busy with something else.
        TestbedError: no cluster could be brought up.
        OSError: what was found cannot be written.
    """
    from agents.costing.measure import measure  # numpy, the transport and a Lab: not to read a file

    found = measure(report)
    kept = Kept(this_machine(), time.time(), found.costs, found.other_cores, found.spread)
    write(kept, directory())
    return kept


def _file(identity: Identity, place: Path) -> Path:
    return place / f"costs-{identity.key}.json"


@contextlib.contextmanager
def _alone(place: Path) -> Iterator[None]:
    """One process at a time measures: two would measure each other."""
    with (place / "costs.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
