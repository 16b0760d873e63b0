"""Room for KV in a run, in emulated bytes: buffers, HBM, storage and caches, as given or enough."""

from __future__ import annotations

import math

from agents.caps import Shape, TurnBytes
from agents.cluster import Buffers
from agents.settings import DualPathScenario
from testbed.errors import ScenarioError
from testbed.experiment.scale import Scale
from testbed.units import show_size

_SPARE = 1.5  # of buffers over what the mean load fills: requests differ in length


def hbm_bytes(scenario: DualPathScenario) -> float | None:
    """HBM of a decode engine for KV, emulated; None where engines have no bound."""
    if scenario.engines == "network-only":
        return None
    return scenario.realised_scale.emulated_bytes(scenario.buffers.hbm)


def buffers(
    scenario: DualPathScenario,
    shape: Shape,
    turn: TurnBytes,
    *,
    agents: int,
    longest_bytes: int,
    hbm_layers: int,
    batch: float,
) -> Buffers:
    """Capacities as given, else such that no buffer is what limits the mean load.

    Each holds two of the longest requests at least, so that one cannot block the others.

    Args:
        scenario: what is run.
        shape: of the cluster.
        turn: the mean one.
        agents: that have one under way each.
        longest_bytes: KV of the longest request.
        hbm_layers: that prefill holds of a request.
        batch: requests that a prefill engine works on at a time.

    Raises:
        ScenarioError: a buffer does not hold the longest request.
    """
    scale = scenario.realised_scale
    floor = 2 * longest_bytes
    per_prefill, per_decode = agents / shape.prefill, agents / shape.decode
    working = scenario.read_window + shape.engines * batch
    groups = working * (turn.prompt + longest_bytes) * hbm_layers / scenario.layout.layers
    kept = per_decode * (turn.miss + turn.generated)
    wanted = {
        "pe_buffer": floor + _SPARE * per_prefill * turn.hit,
        "de_buffer": floor + _SPARE * per_decode * turn.prompt,
        "staging": floor + _SPARE * (groups + kept),
    }
    given = {
        "pe_buffer": scenario.buffers.pe,
        "de_buffer": scenario.buffers.de,
        "staging": scenario.buffers.staging,
    }
    sizes = {
        name: math.ceil(size if given[name] is None else scale.emulated_bytes(given[name] or 0))
        for name, size in wanted.items()
    }
    limit = hbm_bytes(scenario)
    everything = floor + _SPARE * per_decode * (turn.prompt + turn.generated)
    sizes["hbm"] = math.ceil(everything if limit is None else limit)
    given_hbm = scenario.buffers.prefill_hbm if limit is not None else None
    sizes["prefill_hbm"] = (
        sizes["hbm"] if given_hbm is None else math.ceil(scale.emulated_bytes(given_hbm))
    )
    few_layers = all(one.layerwise for one in scenario.variants.values())
    for name, size in sizes.items():
        if name == "prefill_hbm" and few_layers:
            continue  # it holds a few layers of the longest request only
        if size < longest_bytes:
            raise ScenarioError(
                f"buffers.{name.removesuffix('_buffer')} of {_real(scale, size)} does not hold "
                f"the longest request, which has {_real(scale, longest_bytes)} of KV",
                hint="give it more, leave it out, or lower workload.max_context",
            )
    return Buffers(**sizes)


def storage_bytes(scenario: DualPathScenario, enough_bytes: int, longest_bytes: int) -> int:
    """Capacity of a storage node: as given, else enough for everything.

    Args:
        scenario: what is run.
        enough_bytes: for all that is stored, even if one node had it all.
        longest_bytes: KV of the longest context.

    Raises:
        ScenarioError: it does not hold the longest context.
    """
    given_bytes = scenario.storage.capacity
    if given_bytes is None:
        return enough_bytes
    if given_bytes < longest_bytes:
        raise ScenarioError(
            f"storage.capacity of {show_size(given_bytes)} does not hold the longest context, "
            f"which has {show_size(longest_bytes)} of emulated KV",
            hint="give it more, leave it out, or lower workload.max_context",
        )
    return given_bytes


def cache_bytes(scenario: DualPathScenario, most_bytes: int) -> int:
    """Capacity of a decode node's cache: as given, but no more than there is to keep.

    Args:
        scenario: what is run.
        most_bytes: that all storage nodes hold.
    """
    return min(int(scenario.realised_scale.emulated_bytes(scenario.cache.capacity)), most_bytes)


def arena_bytes(shape: Shape, staging_bytes: int, turn: TurnBytes, agents: int) -> float:
    """Memory that arenas really touch: a request is in one DRAM buffer and one HBM at most.

    Args:
        shape: of the cluster.
        staging_bytes: of each node.
        turn: the mean one.
        agents: that have one under way each.
    """
    nodes = shape.prefill + shape.decode
    return nodes * staging_bytes + agents * (2 * turn.prompt + turn.hit + turn.generated)


def _real(scale: Scale, emulated_bytes: float) -> str:
    return show_size(scale.real_bytes(emulated_bytes))
