from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.blocks.hashing import stream_hashes
from agents.client.idle import IDLE_AGENT, IDLE_REQUEST, idle_submission
from agents.idle_overhead import Line, Lines, check, has_idle_request, ideal_s
from agents.recorded import Run
from agents.records import ProcessRecord, RequestRecord
from agents.settings import DualPathScenario
from testbed.experiment.scenario import load_scenario
from testbed.plan.compile import PlanSettings, compile_plan
from topologies.dualpath import DualPathTopo

MB = 1e6
LINE = Lines(*[Line(80e6)] * 3, shared=True)  # 10 MB/s
BYTES = st.floats(1e3, 1e9)


def test_the_prefill_side_reads_loads_returns_and_hands_over() -> None:
    """10 MB by lines of 10 MB/s: 1 s each; load and return share the prefill CNIC."""
    assert ideal_s("pe", 10 * MB, 0, LINE, 0.0, 20) == 4.0


def test_the_decode_side_returns_next_to_nothing() -> None:
    assert ideal_s("de", 10 * MB, 0, LINE, 0.0, 20) == 3.0


def test_past_the_cnic_load_and_return_are_side_by_side() -> None:
    direct = LINE._replace(into_hbm=Line(160e6), shared=False)
    assert ideal_s("pe", 10 * MB, 0, direct, 0.0, 20) == 1.0 + 1.0 + 0.5


def test_what_links_send_at_once_takes_no_time() -> None:
    """1 MB at once, of each of three stages: read, load and return, hand over."""
    bursts = Lines(*[Line(80e6, at_once_bytes=MB)] * 3, shared=True)
    assert ideal_s("pe", 10 * MB, 0, bursts, 0.0, 20) == pytest.approx(4.0 - 0.3)
    assert ideal_s("pe", 0.4 * MB, 0, bursts, 0.0, 20) == 0.0
    assert bursts.without_bursts == LINE


@given(st.sampled_from(["pe", "de"]), BYTES, BYTES, st.floats(0, 10), st.integers(1, 61))
def test_compute_is_beside_the_layers_and_never_hidden_entirely(
    path: str, hit: float, miss: float, compute_s: float, groups: int
) -> None:
    moving_s = ideal_s(path, hit, miss, LINE, 0.0, groups)
    whole_s = ideal_s(path, hit, miss, LINE, compute_s, groups)
    assert moving_s <= whole_s <= moving_s + compute_s + 1e-9
    assert whole_s >= compute_s
    fewer_s = ideal_s(path, hit, miss, LINE, compute_s, 1)
    assert whole_s <= fewer_s + 1e-9  # one group: nothing is side by side


def test_the_idle_request_hits_a_prefix_of_middling_length_and_is_nobodys() -> None:
    prefixes = [stream_hashes(n, count) for n, count in enumerate((3, 40, 9))]
    submission = idle_submission(prefixes, 64, 5.0)
    assert (submission.request, submission.agent) == (IDLE_REQUEST, IDLE_AGENT)
    assert submission.turn.prompt_tokens == 10 * 64
    assert np.array_equal(submission.turn.hashes[:9], prefixes[2])
    assert 0 <= IDLE_REQUEST < 1 << 24


SCENARIO = """
name: idle
topology: {{name: 1p1d, set: {{gpus: 1}}}}
scale: {{rate: 4000, bytes: 4000}}
duration: 3s
engines: modelled
workload: {{kind: agentic, trace: 32k, agents: 1, start: {start}}}
policies: [pe-only, oracle]
"""


def scenario(start: str = "warm") -> DualPathScenario:
    return load_scenario(SCENARIO.format(start=start), DualPathScenario)


def served(overhead: float, **fields: object) -> Run:
    """One idle request by the prefill side with so much overhead, of the ideal of its payload."""
    asked = scenario()
    layout = asked.layout
    blocks = 1000
    tokens = blocks * layout.block_tokens
    line = 100e6 * 8948 / 9014
    ideal = 4 * blocks * layout.full_block_bytes * 8 / line
    settings = PlanSettings()
    at_once = (settings.gso_bytes(100_000_000) + settings.mtu) * 8 / 100e6
    record = msgspec.convert(
        dict.fromkeys(RequestRecord.__struct_fields__, 0)
        | {"session": "idle", "path": "pe", "prefill": "pe0g0", "decode": "de0g0", "error": "",
           "stalls_s": [0.0], "type": "request", "request": IDLE_REQUEST, "prompt_tokens": tokens,
           "hit_tokens": tokens, "t_scheduled": 5.0,
           "t_decode_start": 5.0 + (1 + overhead) * ideal - 3 * at_once}
        | fields,
        RequestRecord,
    )  # fmt: skip
    return Run(
        asked, compile_plan(DualPathTopo(gpus=1)), "pe-only", {RequestRecord: [record]}, [], {}
    )


@pytest.mark.parametrize(("overhead", "ok"), [(-0.01, True), (0.025, True), (0.04, False)])
def test_three_percent_is_the_most(overhead: float, ok: bool) -> None:
    found = check(served(overhead))
    assert found.ok is ok
    assert found.measured.startswith(f"{overhead:+.1%}")


def test_bursts_hide_no_overhead_and_what_they_gain_is_remarked_upon() -> None:
    settings = PlanSettings(gso_max_bytes=65536)
    plan = compile_plan(DualPathTopo(gpus=1), settings)
    run = served(0.025)
    large = Run(run.scenario, plan, run.variant, run.records, [], {})
    found = check(large)
    assert found.ok is False, "as fast as with small bursts, where it might have been faster"
    assert found.remark == ""
    found = check(served(-0.1))
    assert found.ok
    assert "faster than on the real one" in found.remark and "network.gso_max" in found.remark


def test_what_was_loaded_twice_has_no_formula_and_says_so() -> None:
    assert check(served(0.5, reloaded_bytes=9)).measured == "no formula for path pe, loaded twice"


def test_a_request_that_failed_or_never_came_is_not_measured() -> None:
    failed = check(served(0.0, error="lost"))
    assert failed.ok is None and failed.reason == "lost"
    run = served(0.0)
    laid = ProcessRecord("st0", 0.0, 0.0, 0, {}, laid_down_bytes=5)
    never = Run(run.scenario, run.plan, "pe-only", {ProcessRecord: [laid]}, [], {})
    assert check(never).ok is None
    empty = Run(run.scenario, run.plan, "pe-only", {}, [], {})
    assert check(empty).ok and "nothing lay in storage" in check(empty).measured


def test_who_reads_nothing_has_no_idle_request() -> None:
    assert has_idle_request(scenario(), "pe-only")
    assert not has_idle_request(scenario(), "oracle")
    assert not has_idle_request(scenario("cold"), "pe-only")
    without = scenario().model_copy(update={"calibration": False})
    assert not has_idle_request(without, "pe-only")
