"""TTFT, TTST and TPOT over the rate at which agents arrive; what is served within the SLO.

Reproduces DualPath, figure 10 (2P4D, 64K): under TTFT <= 4 s and TPOT <= 50 ms DualPath serves 2.25
times the agents per second that Basic does with DS-660B, 1.67 times with DS-27B (1.96 in the mean).

Basic's storage NICs are full at 39 turns/s and its batches are small, so its TTFT climbs there;
DualPath's climbs where compute is full, near 60 turns/s (0.38 APS; the paper's 2P4D serves 0.4).
Expect the knee to move right by 2.25 ± 15 % for DS-660B, and TPOT equal within 5 % at equal load,
for decode engines do the same in both.

Found so far: 2.04 and 1.70 (1.44-2.02) in two sets of the quick size; the caps have 60/32 = 1.87.
A request waits for an iteration of the prefill engines to end and is computed in the next, so
DualPath's TTFT passes 4 s at 0.32 to 0.33 APS, before compute is full.  DS-27B is bound by its
storage NICs on either side (as in fig7_offline), so its knee should move by 2.0, more than the
paper's 1.67.

quick: closed loops of few to many agents, each an APS-equivalent (see agents.online), DS-660B.
medium, full: Poisson arrivals, both models.  A run is not long enough for a backlog to grow much,
so the highest load is far beyond what DualPath carries: its agents in flight miss the SLO at once.
"""

from __future__ import annotations

from agents.online import POLICIES, Point, points, served
from testbed.experiment.asking import Asking
from testbed.experiment.estimates import ratio
from testbed.experiment.study import Answer, Expected, Minutes, Row, Shares, Study, about
from testbed.results.charts import Chart, Series

NAMES = dict(zip(POLICIES, ("Basic", "DualPath"), strict=True))
MODELS = {"ds-660b": 2.25, "ds-27b": 1.67}
CAPS = {
    "ds-660b": "caps alone give 60/32 = 1.87",
    "ds-27b": "caps alone give 2.0: two SNICs over one",
}
DUAL_660B = (POLICIES[1], "ds-660b")
TTFT_S, TPOT_S = 4.0, 0.05
LIMIT_S = 20.0  # beyond it a TTFT says how long the run was


def answer(ask: Asking) -> Answer:
    """Both policies under rising loads, for each model."""
    rows: list[Row] = []
    charts: list[Chart] = []
    for model in ask.pick(["ds-660b"], list(MODELS), list(MODELS)):
        found = points(ask, model)
        charts += _charts(found, model, ask.pick("APS-equivalent", "APS", "APS"))
        most = {policy: served(found[policy], TTFT_S, TPOT_S) for policy in POLICIES}
        missed = {policy: _missed(found[policy]) for policy in POLICIES}
        full = all(missed.values())
        basic, dual = most.values()
        rows += [
            Row(f"{model}: DualPath over Basic, APS within the SLO",
                ratio(dual, basic) if full else None, about(MODELS[model], 0.15), MODELS[model],
                "×", CAPS[model] if full else
                "unknown: the highest load was served within the SLO"),
            *(Row(f"{model}: {NAMES[policy]}, APS within the SLO", most[policy],
                  Expected(0.3, 0.46) if (policy, model) == DUAL_660B else None,
                  0.4 if (policy, model) == DUAL_660B else None,
                  note="" if missed[policy] else "or more: no load was too high")
              for policy in POLICIES),
            Row(f"{model}: TPOT at the lowest load, DualPath over Basic",
                ratio(found[POLICIES[1]][0].tpot_s, found[POLICIES[0]][0].tpot_s),
                about(1.0, 0.05), "about 1", "×"),
        ]  # fmt: skip
    return Answer(
        rows, charts, ["At the paper's size: rates are 4 times those of the small nodes."]
    )


def _missed(found: list[Point]) -> bool:
    """A load was too high, so the most that is served lies below it."""
    return any(
        (p.ttft_s is not None and p.ttft_s.value > TTFT_S)
        or (p.tpot_s is not None and p.tpot_s.value > TPOT_S)
        for p in found
    )  # fmt: skip


def _charts(found: dict[str, list[Point]], model: str, x: str) -> list[Chart]:
    made = []
    for name in ("ttft", "ttst", "tpot"):
        series = []
        for policy in POLICIES:
            shown = [
                (p.aps.value, y)
                for p in found[policy]
                if p.aps is not None
                and (y := getattr(p, f"{name}_s")) is not None
                and y.value <= LIMIT_S
            ]
            series.append(Series(NAMES[policy], [x for x, _ in shown], [y for _, y in shown]))
        made.append(Chart(f"fig10_{model}_{name}", f"{name.upper()}, {model}", x,
                          f"mean {name.upper()} (s)", series, kind="lines"))  # fmt: skip
    return made


STUDY = Study(
    "How many more agents per second are served within the SLO?",
    "DualPath, figure 10",
    Minutes(2.2, 260, 2250),
    answer,
    shares=Shares(quick="fig7_offline"),
)
