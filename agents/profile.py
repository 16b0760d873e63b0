"""alpha and beta of a cluster, measured on it: two short runs and what they say.

alpha: tokens that a node's storage NIC reads in 3 s.  Measured without compute and with all reads
on the prefill side, whose storage NICs are then full.

beta: tokens of whole prompts that a prefill engine processes in 5 s.  Measured over the time in
which an engine has a request, with the scenario's own prefill engines: what it waits for KV before
it begins is not in it, what it waits for layers is.  Decoding, which beta does not depend on, is
made short.

Both windows last as long as what they measure, stretched (DualPath, section 6.1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from agents.limits import ALPHA_S, BETA_S, Limits
from agents.records import RequestRecord, TransferRecord
from agents.settings import DualPathScenario, Window
from testbed.errors import UnfaithfulError
from testbed.experiment.profile import Profile
from testbed.experiment.workload import Outcome
from testbed.fidelity.window import in_window

_LEAST_WINDOW_S = 5.0
_AGENTS_PER_ENGINE = 6  # enough for an engine to have work, few enough for a short warm-up
_TPOT_S = 1e-3
_WARM_UP = Window(warm_up=2.0, warm_up_turns=1.0, tolerance=0.2)


def profile_runs(
    scenario: DualPathScenario, engines: int, agents: int
) -> dict[str, DualPathScenario]:
    """The two runs; where engines do not compute anyway, one.

    Args:
        scenario: whose cluster is profiled.
        engines: prefill engines of the cluster.
        agents: of the scenario's closed loop: never more, and fewer where a turn takes long.
    """
    stretch = scenario.realised_scale.stretch

    def short(name: str, real_s: float, **update: Any) -> DualPathScenario:
        scheduler = scenario.scheduler.model_copy(update={"placement": "least-tokens"})
        return scenario.model_copy(
            update={
                "name": f"{scenario.name}-{name}",
                "duration": max(_LEAST_WINDOW_S, real_s * stretch),
                "window": _WARM_UP,
                "scheduler": scheduler,
                "faults": [],
                **update,
            }
        )

    if scenario.engines == "network-only":
        return {"profile": short("profile", BETA_S, policies=["pe-only"])}
    few = min(agents, _AGENTS_PER_ENGINE * engines)
    load = scenario.workload.model_copy(update={"agents": few})
    compute = scenario.compute.model_copy(update={"tpot": _TPOT_S})
    return {
        "alpha": short("alpha", ALPHA_S, policies=["pe-only"], engines="network-only"),
        "beta": short("beta", BETA_S, policies=["shorter-queue"], workload=load, compute=compute),
    }


def profile_of(
    scenario: DualPathScenario, formula: Limits, outcomes: Mapping[str, Outcome]
) -> Profile:
    """Both limits from the runs' records.

    Args:
        scenario: as it was given.
        formula: what `auto` would have taken.
        outcomes: of `profile_runs`.

    Raises:
        UnfaithfulError: a run had no window, or nothing was read or computed in it.
    """
    scale = scenario.realised_scale
    reads, prefills = (outcomes.get(name) or outcomes["profile"] for name in ("alpha", "beta"))
    token_bytes = scenario.layout.full_block_bytes / scenario.layout.block_tokens
    nodes_bytes_per_s = _read_rates(reads)
    alpha = round(np.mean(nodes_bytes_per_s) / token_bytes * scale.emulated_s(ALPHA_S))
    tokens_per_s, busy = _engine_rate(prefills)
    beta = round(tokens_per_s * scale.emulated_s(BETA_S))
    saturated = reads.summary["bound_by"] == "storage"
    values = {
        "scenario": scenario.name,
        "engines": scenario.engines,
        "alpha": alpha,
        "beta": beta,
        "alpha_formula": formula.alpha_tokens,
        "beta_formula": formula.beta_tokens,
        "storage_nics_full": saturated,
        "engine_busy_share": busy,
    }
    lines = [
        f"alpha  {alpha:>10} tokens a node's storage NIC reads in {ALPHA_S:g} s "
        f"(by formula {formula.alpha_tokens})",
        f"beta   {beta:>10} tokens a prefill engine processes in {BETA_S:g} s "
        f"(by formula {formula.beta_tokens}; engines had work {busy:.0%} of the time)",
    ]
    if not saturated:
        lines.append("alpha is what was asked for, not a limit: the storage NICs were not full")
    return Profile(values, [*lines, f"scheduler: {{alpha: {alpha}, beta: {beta}}}"])


def _read_rates(outcome: Outcome) -> list[float]:
    """Bytes/s that each prefill node read from storage in the window."""
    opened, closed = _window(outcome)
    reads: dict[str, list[tuple[float, float, int]]] = {}
    for transfer in outcome.tables["transfers"]:
        assert isinstance(transfer, TransferRecord)
        if transfer.kind == "storage_read":
            times = (transfer.t_first_byte, transfer.t_last_byte, transfer.size_bytes)
            reads.setdefault(transfer.target, []).append(times)
    if not reads:
        raise UnfaithfulError(
            "nothing was read from storage, so alpha cannot be measured",
            hint="choose a scenario whose prompts hit, e.g. workload.start: warm",
        )
    return [float(_within(rows, opened, closed).sum()) / (closed - opened)
            for rows in reads.values()]  # fmt: skip


def _engine_rate(outcome: Outcome) -> tuple[float, float]:
    """Tokens/s of a prefill engine while it has work, and the share of time in which it has.

    A prompt's tokens count evenly over its prefill; engines may work on several at a time.
    """
    opened, closed = _window(outcome)
    spans: dict[str, list[tuple[float, float, int]]] = {}
    for request in outcome.tables["requests"]:
        assert isinstance(request, RequestRecord)
        if not request.error:
            span = (request.t_prefill_start, request.t_first_token, request.prompt_tokens)
            spans.setdefault(request.prefill, []).append(span)
    tokens = sum(float(_within(rows, opened, closed).sum()) for rows in spans.values())
    busy_s = sum(_covered_s(rows, opened, closed) for rows in spans.values())
    if busy_s <= 0:
        raise UnfaithfulError(
            "no engine prefilled anything in the window, so beta cannot be measured",
            hint="choose a scenario with more agents, or a smaller scale",
        )
    return tokens / busy_s, busy_s / (len(spans) * (closed - opened))


def _covered_s(spans: Sequence[tuple[float, float, int]], opened: float, closed: float) -> float:
    """Seconds of the window in which at least one span is under way."""
    covered_s, until = 0.0, opened
    for start, end, _ in sorted(spans):
        start, end = max(start, until), min(end, closed)
        if end > start:
            covered_s += end - start
            until = end
    return covered_s


def _within(rows: Sequence[tuple[float, float, int]], opened: float, closed: float) -> np.ndarray:
    array = np.array(rows, float)
    return in_window(array[:, 0], array[:, 1], array[:, 2], opened, closed)


def _window(outcome: Outcome) -> tuple[float, float]:
    if outcome.window is None:
        raise UnfaithfulError(
            "the run ended before its window opened: nothing was measured",
            hint="its logs are in the run directory; try more agents, or a longer trace",
        )
    return outcome.window
