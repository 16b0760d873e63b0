"""From a topology's name and settings, as text, to a Topo and its plan."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from mininet.topo import Topo

from testbed.errors import NotFoundError, TopologyError, UsageError
from testbed.plan.compile import compile_plan
from testbed.plan.model import Plan
from testbed.plan.settings import PlanSettings
from testbed.units import parse_rate_bps
from topologies import catalog

_MBIT = 1e6


def build_topology(name: str, settings: Mapping[str, str]) -> Topo:
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
    try:
        return catalog.build(name, {key: _in_mbit(key, text) for key, text in settings.items()})
    except catalog.UnknownTopologyError as error:
        close = difflib.get_close_matches(name, error.known, n=2)
        hint = (
            f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(error.known)}"
        )
        if not close:
            hint += "; or a file of yours, as mine.py:name"
        raise NotFoundError(str(error), hint=hint) from error
    except catalog.NoTopologyFileError as error:
        raise NotFoundError(
            str(error), hint="give the path of a Python file that exports topos = {…}"
        ) from error
    except catalog.UnknownSettingError as error:
        close = difflib.get_close_matches(error.key, error.known, n=1)
        known = f"it has {', '.join(error.known)}" if error.known else "it has none"
        hint = f"did you mean {close[0]}? {known}" if close else known
        raise UsageError(str(error), hint=hint) from error
    except catalog.SettingTypeError as error:
        raise UsageError(
            str(error), hint="`testbed topologies` lists parameters and their defaults"
        ) from error
    except catalog.BadSettingError as error:
        raise TopologyError(
            str(error), hint="`testbed topologies` lists parameters and their defaults"
        ) from error
    except catalog.TopologyFileError as error:
        raise TopologyError(str(error), hint="`mn --custom` takes the same files") from error


def build_plan(
    name: str, settings: Mapping[str, str], plan_settings: PlanSettings | None = None
) -> Plan:
    """The plan of a topology by its name; raises what `build_topology` and `compile_plan` do."""
    topo = build_topology(name, settings)
    parameters: dict[str, str | int | float | bool] = {
        key: one.default for key, one in catalog.parameters(name).items() if one.default is not None
    }
    return compile_plan(topo, plan_settings, name=name, parameters={**parameters, **settings})


def _in_mbit(key: str, text: str) -> str:
    """A rate with a unit as the number of Mbit/s that a Topo takes; anything else as it is."""
    if not (key == "bw" or key.endswith("_mbit")):
        return text
    try:
        float(text)
    except ValueError:
        if text.lower() == "none":
            return text
        return repr(parse_rate_bps(text) / _MBIT)
    return text
