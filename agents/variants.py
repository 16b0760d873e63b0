"""What the entries of a scenario's `policies` run: a read-path policy, and switches of the engines.

Most names are read-path policies, run with the engines as the scenario has them.  A *baseline*
goes with switches of its own, so that it can be compared with policies in one run:

    basic    reads on the prefill side, without layerwise prefill
    oracle   no storage reads, no copies into or out of HBM, nothing between prefill and decode:
             compute alone, the bound that no way to move KV can pass

(DualPath, section 7.)  `oracle` moves no byte, so there is none to verify, and its verdict says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from agents.scheduler.policies import POLICIES, load_policy


class Variant(NamedTuple):
    """One entry.

    Args:
        policy: what `load_policy` takes, from any working directory.
        layerwise: prefill HBM holds few layers of a request, see `agents.engines.layers`.
        moves_kv: engines read, load and return KV; else they only compute.
    """

    policy: str
    layerwise: bool = True
    moves_kv: bool = True


BASELINES = ("basic", "oracle")


def variant(name: str, *, layerwise: bool) -> Variant:
    """What a name stands for.

    Args:
        layerwise: what the scenario says, for those that do not decide it themselves.
    """
    match name:
        case "basic":
            return Variant("pe-only", layerwise=False)
        case "oracle":
            return Variant("pe-only", layerwise, moves_kv=False)
        case _:
            return Variant(_anywhere(name), layerwise)


def check_variant(name: str) -> None:
    """See that a name stands for something.

    Raises:
        NotFoundError, ScenarioError: as `load_policy`.
    """
    if name not in BASELINES:
        load_policy(name, seed=0)


def label(name: str) -> str:
    """A name in results: a user's policy is FILE.CLASS, without directories."""
    if name in POLICIES or name in BASELINES:
        return name
    path, _, class_name = name.rpartition(":")
    return f"{Path(path).stem}.{class_name}"


def _anywhere(name: str) -> str:
    if name in POLICIES:
        return name
    path, _, class_name = name.rpartition(":")
    return f"{Path(path).resolve()}:{class_name}"
