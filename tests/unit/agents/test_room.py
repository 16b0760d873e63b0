"""Room for KV: as it is given, else so much that no buffer binds."""

from __future__ import annotations

import msgspec
import pytest

from agents import room
from agents.caps import Shape, TurnBytes
from agents.cluster import Buffers
from testbed.errors import ScenarioError
from tests.unit.agents.test_forecast import shipped

SHAPE = Shape(prefill=2, decode=4, engines=8, snic_bps=1e8, cnic_bps=1e8)
TURN = TurnBytes(hit=900.0, miss=100.0, generated=50.0)
LONGEST = 4000


def buffers(agents: int, **overrides: str) -> Buffers:
    scenario = shipped("2p4d", **overrides)
    return room.buffers(
        scenario, SHAPE, TURN, agents=agents, longest_bytes=LONGEST, hbm_layers=4, batch=1.0
    )


def test_a_buffer_holds_two_of_the_longest_requests_and_half_as_much_again_as_the_mean_load() -> (
    None
):
    found = buffers(agents=8)
    assert found.pe_buffer == 2 * LONGEST + 1.5 * 4 * 900
    assert found.de_buffer == 2 * LONGEST + 1.5 * 2 * 1000
    assert found.hbm == found.prefill_hbm == 2 * LONGEST + 1.5 * 2 * 1050
    scenario = shipped("2p4d")
    under_way = (scenario.read_window + 8) * (1000 + LONGEST) * 4 / scenario.layout.layers
    assert found.staging == pytest.approx(2 * LONGEST + 1.5 * (under_way + 2 * 150), abs=1)


def test_more_agents_need_more_room() -> None:
    few, many = (msgspec.structs.asdict(buffers(agents)) for agents in (4, 400))
    assert all(many[name] > few[name] for name in few)


@pytest.mark.parametrize("name", ["pe", "de", "staging"])
def test_what_is_given_must_hold_the_longest_request(name: str) -> None:
    scale = shipped("2p4d").realised_scale
    enough = f"{int(scale.real_bytes(LONGEST)) + 100}B"
    assert min(msgspec.structs.astuple(buffers(8, **{f"buffers.{name}": enough}))) >= LONGEST
    with pytest.raises(ScenarioError, match=rf"buffers\.{name} of .* does not hold the longest"):
        buffers(8, **{f"buffers.{name}": f"{int(scale.real_bytes(LONGEST) * 0.9)}B"})


def test_a_cache_is_no_larger_than_all_that_is_stored() -> None:
    scenario = shipped("2p4d", **{"cache.capacity": "1TB"})
    given = int(scenario.realised_scale.emulated_bytes(10**12))
    assert room.cache_bytes(scenario, 10**15) == given
    assert room.cache_bytes(scenario, given - 1) == given - 1


def test_memory_is_that_of_staging_and_of_requests_that_are_under_way() -> None:
    assert room.arena_bytes(SHAPE, 1000, TURN, agents=3) == 6 * 1000 + 3 * (2 * 1000 + 900 + 50)
