"""From a topology's name and settings, as text, to a Topo and its plan."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from mininet.topo import Topo

from testbed.errors import NotFoundError, TopologyError, UsageError
from testbed.plan.compile import compile_plan
from testbed.plan.model import Plan
from testbed.plan.settings import PlanSettings
from testbed.suggestions import suggestion
from testbed.units import parse_rate_bps
from topologies import catalog

_BITS_PER_MBIT = 1e6
_SEE = "`testbed topologies` lists parameters and their defaults"


class Source(NamedTuple):
    """A topology that has been built, and what it was built from."""

    name: str
    parameters: dict[str, str | int | float | bool]
    topo: Topo

    def compile(self, settings: PlanSettings | None = None) -> Plan:
        """Its plan; raises what `compile_plan` does."""
        return compile_plan(self.topo, settings, name=self.name, parameters=self.parameters)


def load(name: str, settings: Mapping[str, str]) -> Source:
    """A topology that comes along, a preset, or a user's file (`path.py` or `path.py:name`).

    Args:
        name: see `testbed topologies`.
        settings: parameter -> value.  A rate (`bw`, `…_mbit`) is a number of Mbit/s, as in
            Mininet, or has a unit: "1Gbit".

    Raises:
        NotFoundError: there is no such topology, or file.
        UsageError: a setting is unknown, or its value is not of its type.
        TopologyError: the topology refuses its values, or a file cannot be used.
    """
    given = {key: _in_mbit(key, text) for key, text in settings.items()}
    # What a user's file prints is not the result of a command.
    with _refusals(), contextlib.redirect_stdout(sys.stderr):
        choice = catalog.choose(name, given)
        topo = choice.build()
    return Source(name, {k: v for k, v in choice.values.items() if v is not None}, topo)


def build_topology(name: str, settings: Mapping[str, str]) -> Topo:
    """Only the Topo of `load`; raises what that does."""
    return load(name, settings).topo


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """What the catalog refuses, as errors of the testbed with what to do next."""
    try:
        yield
    except catalog.UnknownTopologyError as error:
        hint = suggestion(error.name, error.known)
        raise NotFoundError(
            str(error), hint=f"{hint}; a file of yours is given as mine.py:name"
        ) from error
    except catalog.NoTopologyFileError as error:
        raise NotFoundError(
            str(error), hint="give the path of a Python file that exports topos = {…}"
        ) from error
    except catalog.UnknownSettingError as error:
        known = suggestion(error.key, error.known) if error.known else "it has none at all"
        raise UsageError(str(error), hint=f"{known}; {_SEE}") from error
    except catalog.SettingTypeError as error:
        raise UsageError(str(error), hint=_SEE) from error
    except catalog.BadSettingError as error:
        raise TopologyError(str(error), hint=_SEE) from error
    except catalog.TopologyFileError as error:
        raise TopologyError(str(error), hint="`mn --custom` takes the same files") from error


def _in_mbit(key: str, text: str) -> str:
    """A rate with a unit as the number of Mbit/s that a Topo takes; anything else as it is."""
    if not (key == "bw" or key.endswith("_mbit")):
        return text
    try:
        float(text)
    except ValueError:
        if text.lower() == "none":
            return text
        return repr(parse_rate_bps(text) / _BITS_PER_MBIT)
    return text
