"""alpha and beta from records: what counts, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from agents.limits import Limits
from agents.profile import profile_of, profile_runs
from agents.records import RequestRecord, TransferRecord
from agents.settings import DualPathScenario
from testbed.errors import UnfaithfulError
from testbed.experiment.scenario import load_scenario
from testbed.experiment.workload import Outcome

TEXT = """
name: made
topology: {name: 1p1d}
duration: 300s
scale: {rate: 2000, bytes: 1000}
policies: [pe-only, de-only]
engines: %s
"""
FORMULA = Limits(1, 2)


def scenario(engines: str = "modelled") -> DualPathScenario:
    return load_scenario(TEXT % engines, DualPathScenario)


def read(target: str, first_s: float, last_s: float, size: int) -> TransferRecord:
    return TransferRecord(1, "storage_read", "pe", "st0", target, 0, 0, size, first_s, last_s)


def prefilled(engine: str, start_s: float, end_s: float, tokens: int) -> RequestRecord:
    numbers: dict[str, Any] = {
        name: 0 for name, kind in RequestRecord.__annotations__.items() if kind in ("int", "float")
    }
    texts = {name: "" for name, kind in RequestRecord.__annotations__.items() if kind == "str"}
    return RequestRecord(
        **{
            **numbers, **texts, "stalls_s": [], "prefill": engine,
            "t_prefill_start": start_s, "t_first_token": end_s, "prompt_tokens": tokens,
        }
    )  # fmt: skip


def outcome(
    transfers: list[TransferRecord],
    requests: list[RequestRecord],
    window: tuple[float, float] | None = (10.0, 20.0),
    bound_by: str = "storage",
) -> Outcome:
    tables = {"transfers": transfers, "requests": requests}
    return Outcome({"bound_by": bound_by}, tables, window, [], {})


def test_modelled_engines_take_two_runs_and_others_one() -> None:
    runs = profile_runs(scenario(), engines=8, agents=200)
    assert list(runs) == ["alpha", "beta"]
    assert (runs["alpha"].engines, runs["beta"].engines) == ("network-only", "modelled")
    assert runs["beta"].workload.agents == 48
    stretch = scenario().realised_scale.stretch
    assert runs["beta"].duration == pytest.approx(5 * stretch)
    assert all(len(run.policies) == 1 for run in runs.values())
    assert all(run.scheduler.placement == "least-tokens" for run in runs.values())
    assert list(profile_runs(scenario("network-only"), 8, 200)) == ["profile"]


def test_alpha_is_the_mean_nodes_rate_in_the_window() -> None:
    made = scenario()
    token_bytes = made.layout.full_block_bytes / made.layout.block_tokens
    size = round(1000 * token_bytes)
    reads = [read("pe0", 5.0, 15.0, 2 * size), read("pe1", 12.0, 13.0, 3 * size)]
    outcomes = {
        "alpha": outcome(reads, []),
        "beta": outcome([], [prefilled("pe0g0", 10.0, 20.0, 1)]),
    }
    found = profile_of(made, FORMULA, outcomes).values
    # 1000 and 3000 tokens in 10 s; 3 s of real time are as many stretched.
    stretch = made.realised_scale.stretch
    assert found["alpha"] == pytest.approx((100 + 300) / 2 * 3 * stretch, rel=1e-3)
    assert (found["alpha_formula"], found["beta_formula"]) == (1, 2)


def test_beta_is_per_busy_second_of_an_engine() -> None:
    made = scenario()
    requests = [
        prefilled("pe0g0", 8.0, 12.0, 4000),  # half of it in the window
        prefilled("pe0g0", 11.0, 13.0, 1000),  # at the same time as the first
        prefilled("pe0g1", 18.0, 22.0, 2000),
    ]
    outcomes = {"alpha": outcome([read("pe0", 10, 20, 100)], []), "beta": outcome([], requests)}
    found = profile_of(made, FORMULA, outcomes)
    tokens, busy_s = 2000 + 1000 + 1000, 3.0 + 2.0
    beta = tokens / busy_s * 5 * made.realised_scale.stretch
    assert found.values["beta"] == pytest.approx(beta, abs=1)
    assert found.values["engine_busy_share"] == pytest.approx(5.0 / 20.0)
    alpha = found.values["alpha"]
    assert found.lines[-1] == f"scheduler: {{alpha: {alpha}, beta: {found.values['beta']}}}"


def test_storage_nics_that_were_not_full_are_no_limit_and_that_is_said() -> None:
    reads, requests = [read("pe0", 10, 20, 1000)], [prefilled("pe0g0", 11, 12, 10)]
    found = profile_of(
        scenario("network-only"), FORMULA, {"profile": outcome(reads, requests, bound_by="load")}
    )
    assert found.values["storage_nics_full"] is False
    assert any("not full" in line for line in found.lines)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (outcome([], [prefilled("pe0g0", 11, 12, 10)]), "nothing was read"),
        (outcome([read("pe0", 10, 20, 10)], []), "no engine prefilled"),
        (outcome([read("pe0", 10, 20, 10)], [], window=None), "before its window opened"),
    ],
)
def test_what_was_not_seen_is_not_made_up(given: Outcome, message: str) -> None:
    with pytest.raises(UnfaithfulError, match=message):
        profile_of(scenario("network-only"), FORMULA, {"profile": given})


def test_nothing_goes_wrong_on_purpose_while_limits_are_measured() -> None:
    text = TEXT % "network-only" + "faults: [{at: 1s, kind: kill, node: de0}]\n"
    asked = load_scenario(text, DualPathScenario)
    assert [run.faults for run in profile_runs(asked, engines=8, agents=200).values()] == [[]]
