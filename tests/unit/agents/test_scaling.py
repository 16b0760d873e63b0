"""The largest scale: what is chosen is carried, and a little more would not be."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.capacity import MachineLimits
from agents.costing.costs import REFERENCE, MachineCosts
from agents.forecast import forecast
from agents.needs import Site, site_of
from agents.scaling import Carried, largest
from agents.settings import DualPathScenario
from testbed.experiment.scale import Scale
from testbed.experiment.scenario import load_scenario
from testbed.plan.compile import compile_plan
from testbed.plan.source import build_topology

SCENARIOS = Path(str(files("agents"))) / "scenarios"
PLENTY = 64e9


def shipped(name: str, **overrides: str) -> DualPathScenario:
    return load_scenario(SCENARIOS / f"{name}.yaml", DualPathScenario, overrides=overrides)


def site(scenario: DualPathScenario) -> Site:
    topology = build_topology(scenario.topology.name, scenario.topology_settings)
    return site_of(compile_plan(topology))


def at(scenario: DualPathScenario, scale: Scale) -> DualPathScenario:
    """The same at another scale, checked as a file of it would be."""
    return shipped(
        scenario.name, **{"scale.rate": repr(scale.rate), "scale.bytes": repr(scale.bytes)}
    )


def layer_block_bytes(scenario: DualPathScenario) -> int:
    return scenario.layout.layer_block_bytes


@pytest.mark.parametrize("cores", [1, 2, 8])
def test_the_largest_is_carried_and_a_little_more_is_not(cores: int) -> None:
    scenario = shipped("demo")
    limits = MachineLimits(cores, 0.85, PLENTY)
    found = Carried(scenario, site(scenario), REFERENCE, limits).largest()
    assert found is not None
    chosen = at(scenario, found)
    foreseen = forecast(chosen, site(chosen))
    assert limits.carry(foreseen.cores, foreseen.process_cores, foreseen.memory_bytes)
    assert found.stretch == pytest.approx(scenario.scale.stretch, rel=1e-3)
    n = layer_block_bytes(chosen)
    larger_n = n + max(1, n // 50)
    more = Scale(found.rate * n / larger_n, found.bytes * n / larger_n)
    larger = at(scenario, more)
    assert layer_block_bytes(larger) == larger_n
    foreseen = forecast(larger, site(larger))
    assert not limits.carry(foreseen.cores, foreseen.process_cores, foreseen.memory_bytes)


def test_more_cores_carry_a_larger_cluster() -> None:
    scenario = shipped("2p4d")
    place = site(scenario)
    found = [
        Carried(scenario, place, REFERENCE, MachineLimits(cores, 0.85, PLENTY)).largest()
        for cores in (1, 2, 4, 16)
    ]
    rates = [scale.rate for scale in found if scale is not None]
    assert len(rates) == 4
    assert rates == sorted(rates, reverse=True)


def test_memory_binds_as_well() -> None:
    scenario = shipped("demo")
    found = Carried(scenario, site(scenario), REFERENCE, MachineLimits(64, 1.0, 6e8)).largest()
    assert found is not None
    chosen = at(scenario, found)
    foreseen = forecast(chosen, site(chosen))
    assert 0.95 * 0.8 * 6e8 < foreseen.memory_bytes <= 0.8 * 6e8


def test_the_scale_that_a_search_begins_with_does_not_matter() -> None:
    limits = MachineLimits(2, 0.85, PLENTY)
    found = []
    for rate, size in (("2000", "1000"), ("20000", "10000"), ("400", "200")):
        scenario = shipped("demo", **{"scale.rate": rate, "scale.bytes": size})
        found.append(Carried(scenario, site(scenario), REFERENCE, limits).largest())
    assert found[0] == found[1] == found[2]


def test_where_bytes_are_not_what_costs_only_rates_shrink() -> None:
    dear = msgspec.structs.replace(REFERENCE, operation_s=2e-3)
    scenario = shipped("demo")
    limits = MachineLimits(1, 0.5, PLENTY)
    carried = Carried(scenario, site(scenario), dear, limits)
    found = carried.largest()
    assert found is not None
    assert found.stretch > 1.5 * scenario.scale.stretch
    assert layer_block_bytes(at(scenario, found)) == layer_block_bytes(scenario)
    assert carried.fits(found)
    assert not carried.fits(Scale(found.rate * 0.9, found.bytes))


def test_what_is_not_scaled_stays_so() -> None:
    """Tokens are computed from real bytes; 2 ms each allow some 400 a second on one core."""
    scenario = shipped("validate")
    carried = Carried(scenario, site(scenario), REFERENCE, MachineLimits(1, 0.85, PLENTY))
    found = carried.largest()
    assert found is not None and found.bytes == 1
    assert carried.fits(found) and not carried.fits(Scale(found.rate * 0.9, 1))


def test_a_machine_may_be_too_small_for_any_scale() -> None:
    scenario = shipped("demo")
    place = site(scenario)
    for limits in (MachineLimits(1, 0.85, 1e6), MachineLimits(1, 1e-6, PLENTY)):
        assert Carried(scenario, place, REFERENCE, limits).largest() is None


@given(st.integers(0, 5000), st.integers(0, 5000))
def test_the_largest_that_fits(last: int, most: int) -> None:
    assert largest(lambda n: n <= last, most) == min(last, most)


@settings(max_examples=8, deadline=None)
@given(st.floats(0.2, 64), st.floats(0.3, 3))
def test_whatever_the_machine_what_is_chosen_fits(cores: float, dearer: float) -> None:
    limits = MachineLimits(1, cores, PLENTY)
    costs: MachineCosts = msgspec.structs.replace(
        REFERENCE,
        check_s_per_gib=REFERENCE.check_s_per_gib * dearer,
        operation_s=REFERENCE.operation_s * dearer,
    )
    carried = Carried(_DEMO, _SITE, costs, limits)
    found = carried.largest()
    assert found is not None
    assert carried.fits(found)


_DEMO = shipped("demo")
_SITE = site(_DEMO)
