"""Shipped scenarios, foreseen on the real plan of their cluster."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import msgspec
import pytest

from agents.capacity import MachineLimits
from agents.costing.costs import REFERENCE
from agents.forecast import Forecast, forecast
from agents.replayed import Replayed, replay
from agents.settings import DualPathScenario
from agents.traces.session import BLOCK_TOKENS
from testbed.errors import ScenarioError
from testbed.experiment.scenario import load_scenario
from testbed.plan.compile import compile_plan
from topologies.dualpath import DualPathTopo

SCENARIOS = Path(str(files("agents"))) / "scenarios"
LOADS: dict[str, Replayed] = {}  # what no other setting changes, and takes the time
NODES = {"1p1d": (1, 1), "2p1d": (2, 1), "1p2d": (1, 2), "2p4d": (2, 4)}


def shipped(name: str, **overrides: str) -> DualPathScenario:
    return load_scenario(SCENARIOS / f"{name}.yaml", DualPathScenario, overrides=overrides)


def foresee(scenario: DualPathScenario) -> Forecast:
    prefill, decode = NODES[scenario.topology.name]
    settings = {key: float(value) for key, value in scenario.topology_settings.items()}
    gpus = int(settings.pop("gpus", 8))
    topo = DualPathTopo(prefill=prefill, decode=decode, gpus=gpus, **settings)
    load = LOADS.setdefault(f"{scenario.seed} {scenario.workload!r}", Replayed())
    return forecast(scenario, compile_plan(topo), replayed=load)


def carried(found: Forecast, memory_bytes: float) -> bool:
    """By a machine of two cores."""
    return MachineLimits(2, 0.85, memory_bytes).carry(
        found.cores, found.process_cores, found.memory_bytes
    )


@pytest.mark.parametrize(
    ("name", "speedup"),
    [("demo", 2.0), ("1p1d", 2.0), ("2p1d", 1.5), ("1p2d", 3.0), ("2p4d", 3.0)],
)
def test_storage_bound_scenarios(name: str, speedup: float) -> None:
    scenario = shipped(name)
    found = foresee(scenario)
    policies = found.prediction.policies
    assert policies["shorter-queue"].speedup == pytest.approx(speedup)
    assert all("snic-in" in policy.bound_by for policy in policies.values())
    assert found.compute.tpot_s == 0
    # The steady window opens after three mean turn times: most of the duration must be left.
    slowest = min(policy.turns_per_s for policy in policies.values())
    assert 3 * found.agents / slowest < scenario.duration / 3
    assert carried(found, memory_bytes=4e9)


def test_the_demo_moves_a_turn_of_about_2_and_a_half_megabytes() -> None:
    assert foresee(shipped("demo")).turn.hit == pytest.approx(2.5e6, rel=0.03)


def test_where_the_cnics_bind() -> None:
    policy = foresee(shipped("cnic-bound")).prediction.policies["shorter-queue"]
    assert "cnic" in policy.bound_by
    assert 1.1 < (policy.speedup or 0) < 1.36


def test_modelled_engines_stretch_with_the_run() -> None:
    scenario = shipped("2p4d-modelled")
    found = foresee(scenario)
    policies = found.prediction.policies
    assert policies["pe-only"].bound_by == "pe-snic-in"
    assert policies["shorter-queue"].bound_by == "prefill-compute"
    stretch = found.scale.stretch
    assert found.compute.tpot_s == pytest.approx(39e-3 * stretch)
    # 56 turns/s at full scale: 60, less what half-filled blocks make prefill compute again.
    full_scale = found.scale.real_per_s(policies["shorter-queue"].turns_per_s)
    assert full_scale == pytest.approx(56, abs=2)
    assert carried(found, memory_bytes=8e9)


def test_storage_is_filled_with_what_the_agents_will_read() -> None:
    scenario = shipped("demo")
    found = foresee(scenario)
    played = replay(scenario, found.trace, found.agents, found.arrivals, found.steady)
    played.start(0.0)
    first = played.due(0.0)
    assert len(first) == found.agents
    before = (
        sum(s.turn.prompt_tokens // BLOCK_TOKENS for s in first if s.turn_index)
        * scenario.layout.full_block_bytes
    )
    assert 0.9 * before < found.preload_bytes <= before
    assert found.storage_bytes > found.preload_bytes
    cold = foresee(shipped("demo", **{"workload.start": "cold"}))
    assert cold.preload_bytes == 0


def test_buffers_hold_the_longest_request_and_the_load() -> None:
    found = foresee(shipped("2p4d"))
    longest = found.means.longest_tokens * 48 * 61 / 64
    for size in msgspec.structs.asdict(found.buffers).values():
        assert size >= 2 * longest
    assert found.buffers.de_buffer * 4 > found.agents * found.turn.prompt


def test_a_buffer_may_be_given_at_full_scale() -> None:
    found = foresee(shipped("demo", **{"buffers.de": "500GB"}))
    assert found.buffers.de_buffer == pytest.approx(500e9 / found.scale.bytes, rel=1e-6)
    with pytest.raises(ScenarioError, match=r"buffers\.de of 1GiB does not hold the longest"):
        foresee(shipped("demo", **{"buffers.de": "1GiB"}))


def test_storage_has_the_capacity_that_is_given_if_the_longest_context_fits() -> None:
    found = foresee(shipped("demo"))
    given = foresee(shipped("demo", **{"storage.capacity": "20MiB"}))
    assert given.storage_bytes == 20 << 20 < found.preload_bytes
    assert found.memory_bytes - given.memory_bytes > found.preload_bytes - (20 << 20)
    with pytest.raises(
        ScenarioError, match=r"storage\.capacity of 64KiB does not hold the longest"
    ):
        foresee(shipped("demo", **{"storage.capacity": "64KiB"}))


def test_hbm_limits_modelled_engines_only() -> None:
    small = {"buffers.hbm": "6GB"}
    modelled = foresee(shipped("2p4d-modelled", **small))
    assert modelled.prediction.policies["shorter-queue"].bound_by == "decode-hbm"
    assert modelled.buffers.hbm == pytest.approx(6e9 / modelled.scale.bytes, rel=1e-3)
    assert foresee(shipped("2p4d", **small)).buffers.hbm > 6e9 / 1712


def test_hbm_bounds_batches_that_hold_all_layers() -> None:
    """15 GB hold five requests of 2.6 GB, or two of the longest."""
    small = {"buffers.prefill_hbm": "15GB", "policies": "[basic, shorter-queue, oracle]"}
    policies = foresee(shipped("2p4d-modelled", **small)).prediction.policies
    off = {"prefill.layerwise": "false"}
    caps = [
        foresee(shipped("2p4d-modelled", **small, **switch)).prediction.caps_turns_per_s
        for switch in ({}, off)
    ]
    ratio = caps[1]["prefill-compute"] / caps[0]["prefill-compute"]
    # The gain of 5 requests of 461 tokens over that of the quota's 10.
    assert ratio == pytest.approx(2.77 / 2.95, abs=0.02)
    assert policies["shorter-queue"].turns_per_s == policies["oracle"].turns_per_s
    assert policies["shorter-queue"].bound_by == "prefill-compute"
    assert policies["basic"].bound_by == "pe-snic-in"


def test_without_layerwise_prefill_hbm_holds_the_longest_request() -> None:
    tiny = {"buffers.prefill_hbm": "1GB"}
    assert foresee(shipped("2p4d-modelled", **tiny)).buffers.prefill_hbm == 292_057
    with pytest.raises(ScenarioError, match=r"buffers\.prefill_hbm of .* does not hold"):
        foresee(shipped("2p4d-modelled", **tiny, **{"prefill.layerwise": "false"}))


def test_a_longer_quota_makes_larger_batches() -> None:
    caps = [
        foresee(shipped("2p4d-modelled", **{"prefill.quota": quota})).prediction.caps_turns_per_s[
            "prefill-compute"
        ]
        for quota in ("30ms", "100ms", "300ms", "900ms")
    ]
    assert caps[0] < caps[1] < caps[2] <= caps[3]


def test_attention_is_not_slower_than_a_whole_prefill() -> None:
    with pytest.raises(ScenarioError, match=r"attention_tflops of 200 is less than the effective"):
        foresee(shipped("2p4d-modelled", **{"prefill.attention_tflops": "200"}))


def test_a_number_of_agents_is_taken_as_it_is() -> None:
    assert foresee(shipped("demo", **{"workload.agents": "7"})).agents == 7


def test_so_few_agents_are_the_load_that_binds_and_more_are_asked_for() -> None:
    few, many = (foresee(shipped("demo", **{"workload.agents": n})) for n in ("2", "auto"))
    for name, policy in few.prediction.policies.items():
        assert policy.bound_by == "load"
        assert 2 / few.prediction.service_s <= policy.turns_per_s
        assert policy.turns_per_s < many.prediction.policies[name].turns_per_s
    assert few.prediction.agents == many.prediction.agents == many.agents


def test_costs_of_another_machine() -> None:
    scenario = shipped("demo")
    plan = compile_plan(DualPathTopo(gpus=4, cnic_mbit=200.0))
    dear = msgspec.structs.replace(REFERENCE, check_s_per_gib=REFERENCE.check_s_per_gib + 1)
    found, more = (forecast(scenario, plan, costs) for costs in (REFERENCE, dear))
    checked = 2 * (found.turn.prompt + found.turn.generated)
    policies = found.prediction.policies
    for name, need in found.needs.items():
        extra = policies[name].turns_per_s * checked / 2**30
        assert more.needs[name].cores == pytest.approx(need.cores + extra)
    assert found.cores == max(need.cores for need in found.needs.values())


def test_faster_policies_need_more() -> None:
    needs = foresee(shipped("2p4d")).needs
    for field in ("cores", "messages_per_s"):
        assert getattr(needs["shorter-queue"], field) > getattr(needs["pe-only"], field)


def _exchanging(collectives: str, nvlink: str) -> DualPathScenario:
    settings = {"traffic.collectives": collectives, "cluster.nvlink": nvlink}
    return shipped("2p4d-modelled", **settings, **{"workload.agents": "8"})


def test_prefill_waits_for_its_collectives() -> None:
    """The cap falls by the time that tokens take to their experts and back, at least."""
    plain, exchanging, slow = (
        foresee(_exchanging(on, nvlink))
        for on, nvlink in (("false", "3.6Tbit"), ("true", "3.6Tbit"), ("true", "360Gbit"))
    )
    caps = [f.prediction.caps_turns_per_s["prefill-compute"] for f in (plain, exchanging, slow)]
    assert caps[0] > caps[1] > caps[2]
    wait_s = exchanging.times.exchange_s
    assert 0 < wait_s < slow.times.exchange_s
    assert 16 / caps[1] == pytest.approx(16 / caps[0] + wait_s)
    # Decode engines wait for theirs between two steps; a step exchanges all of its requests.
    assert 0 < exchanging.times.decode_exchange_s < slow.times.decode_exchange_s
    hbm_caps = [f.prediction.caps_turns_per_s["decode-hbm"] for f in (plain, exchanging, slow)]
    assert hbm_caps[0] > hbm_caps[1] > hbm_caps[2]
    # What the engines of both prefill nodes send over their CNICs for one turn.
    assert exchanging.turn.prefill_model > exchanging.turn.miss
    assert wait_s > 8 * exchanging.turn.prefill_model / exchanging.shape.cnic_bps


def test_narrow_pcie_links_bind_where_they_carry_what_is_loaded() -> None:
    wide, narrow = (
        foresee(shipped("demo", **{"traffic.mode": "direct", "cluster.pcie": rate})).prediction
        for rate in ("512Gbit", "40Gbit")
    )
    assert wide.policies["shorter-queue"].bound_by == "pe-snic-in"
    assert wide.caps_turns_per_s["pcie"] > wide.caps_turns_per_s["all-snics"]
    assert narrow.policies["shorter-queue"].bound_by == "de-pcie-to-hbm"
    # Every prompt is copied into decode HBM, over four links of a tenth of a CNIC's rate.
    turns_per_s = narrow.caps_turns_per_s["pcie"]
    assert turns_per_s < wide.caps_turns_per_s["all-snics"]
    assert narrow.service_s > wide.service_s


def test_arrivals_begin_with_their_rate_times_the_time_of_a_session() -> None:
    scenario = shipped("1p1d", **{"workload.arrivals.rate": "0.05/s"})
    found = foresee(scenario)
    assert found.arrivals is not None
    assert found.arrivals.per_s == pytest.approx(found.scale.emulated_per_s(0.05))
    session_s = found.means.session_turns * found.prediction.service_s
    assert found.agents == round(found.arrivals.per_s * session_s)
    policy = found.prediction.policies["shorter-queue"]
    assert policy.bound_by == "arrivals"
    assert policy.turns_per_s == pytest.approx(found.arrivals.per_s * found.means.session_turns)
    # The rate is the real cluster's: where time stretches, as many turns take longer.
    slower = foresee(shipped("1p1d", **{"workload.arrivals.rate": "0.05/s", "scale.rate": "4000"}))
    assert slower.arrivals is not None
    assert slower.arrivals.per_s == pytest.approx(found.arrivals.per_s / 2)


def test_agents_in_flight_may_be_stated() -> None:
    options = {"workload.arrivals.rate": "1/s", "workload.agents": "7"}
    assert foresee(shipped("1p1d", **options)).agents == 7


def test_faster_gpus_are_kept_waiting_by_the_same_nics() -> None:
    many = {"buffers.hbm": "1TiB", "workload.agents": "auto"}
    plain, faster = (
        foresee(shipped("2p4d-modelled", **{"hardware.flops": flops, **many}))
        for flops in ("1", "28.8")
    )
    assert faster.compute.seconds_per_flop == pytest.approx(plain.compute.seconds_per_flop / 28.8)
    assert plain.prediction.policies["shorter-queue"].bound_by == "prefill-compute"
    assert "snic" in faster.prediction.policies["shorter-queue"].bound_by


@pytest.mark.parametrize("name", ["ds-27b", "qwen2.5-32b"])
def test_models_with_derived_speeds_can_be_run_with_compute(name: str) -> None:
    found = foresee(shipped("2p4d-modelled", **{"model.preset": name, "scale.rate": "40000"}))
    for policy in found.prediction.policies.values():
        assert 0 < policy.turns_per_s < float("inf")
    assert found.times.prefill_s > 0 and found.times.decode_s > 0
    assert found.compute.decode_weights_s > 0


def test_computing_tokens_takes_cores() -> None:
    scenario = shipped("validate")
    generated = scenario.model_copy(update={"kv": "generated"})
    found, without = foresee(scenario), foresee(generated)
    tokens_s = found.means.generate_tokens * REFERENCE.token_s
    assert found.needs.keys() == without.needs.keys()
    for name, need in found.needs.items():
        # Each of the agents waits until its tokens are there.
        turns_per_s = min(
            found.prediction.policies[name].turns_per_s,
            found.agents / (found.prediction.service_s + tokens_s),
        )
        assert need.cores > turns_per_s * tokens_s
        assert need.cores <= without.needs[name].cores + turns_per_s * tokens_s
