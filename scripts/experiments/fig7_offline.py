"""Job times of agents that all begin at once: Basic, DualPath and Oracle.

Reproduces DualPath, figure 7 (DS-660B at 78 324 B/token, 2P4D, 64K): Basic takes 10 052 s with 2
048 agents, DualPath 5 365 s, up to 1.87 times less, and DualPath is near Oracle, which moves no KV.

Nodes are a quarter of the paper's in all proportions (`2p4d-small`): SNIC over CNICs, P/D, compute
over SNIC, agents per engine.  Two figures are fitted, and so is what rests on them alone: how fast
GPUs prefill, 192 TFLOP/s, gives DualPath's bar, and how much HBM they have for KV, 6 GiB, gives
Basic's (80 GB less 58 GB of weights leave 22, and what activations and buffers take of that nobody
published; with 8 GiB storage would bind Basic).  227 TFLOP/s would be right if each turn appended
the published 429 tokens.  But these are means over trajectories; those of short turns have more of
them, so counted one by one turns append 286.  With 227 DualPath would gain 1.82 over PE-only.

What is a result: PE-only + layerwise, which storage binds at 39 turns/s whatever GPUs do; its job
time, which the paper's ablation gives (17.2 % less than Basic); hence DualPath over it, 1.54 ± 8 %;
Oracle, the compute cap as it is reached, 60 turns/s; and how all of them move in the other studies.
Over Basic 1.87 ± 12 %, the layerwise part of that fitted.  Caps know no beginning and no end: of
whole jobs expect more than 1.54 (1.7 was found; job_phases explains it without any run).

DS-27B on 1P1D gains up to 1.78 in the paper.  How fast it computes nobody published; at the rate
derived here compute carries 2.3 times what both SNICs do, so storage binds all but Oracle: expect
the ratio of SNICs, 2.0 ± 8 %, above the paper's.

quick: JCT-equivalent of a steady window; medium: every 8th turn of whole trajectories, times 8;
full: whole trajectories.
"""

from __future__ import annotations

from agents.job_time import DS_27B, DUALPATH, SHRUNK, SMALL, job_time_s, storage_caps, whole_jobs
from agents.traces.agentic import TRACES
from testbed.experiment.asking import Asking
from testbed.experiment.estimates import exactly, inverse, ratio, scaled, together
from testbed.experiment.study import Answer, Expected, Minutes, Row, Study, about
from testbed.results.charts import Chart, Series
from testbed.results.intervals import Interval
from testbed.results.load import RunData

NAMES = {"basic": "Basic", "pe-only": "Basic + layerwise", DUALPATH: "DualPath",
         "oracle": "Oracle"}  # fmt: skip
# DualPath, figure 7: job times in s at 1024, 2048 and 4096 agents of 64K.
PAPER = {"basic": [5365.0, 10052.0, 19309.0], DUALPATH: [2917.0, 5365.0, 10312.0]}
AGENTS = {"DS-660B": [1024, 2048, 4096], "DS-27B": [512, 1024, 2048]}
LAYERWISE = [basic * (1 - 0.172) for basic in PAPER["basic"]]  # by figure 12
CAPS = {"pe-snics": (39.0, "PE SNICs"), "all-snics": (117.0, "all SNICs")}
Times = dict[str, Interval | None]


def answer(ask: Asking) -> Answer:
    """One run of all policies for each model and trace; jobs of more agents take in proportion."""
    what = ask.pick("JCT-equivalent", "8 × JCT of every 8th turn", "JCT")
    rows, charts = [], []
    for trace in ask.pick(["64k"], ["64k"], ["32k", "48k", "64k"]):
        changes = {"workload.trace": trace} if trace != "64k" else {}
        runs = ask.runs(SMALL, {**changes, **whole_jobs(ask.size)})
        one = _one_agent(ask, runs, list(NAMES), trace)
        charts.append(_chart("DS-660B", one, trace, what))
        if trace == "64k":
            # The agents that larger sizes play, so that nothing is in proportion.
            rows += _large(one, storage_caps(runs[0]), what, ask.pick(1, 0, 1))
    policies = ask.pick(["basic", DUALPATH], *2 * (["basic", DUALPATH, "oracle"],))
    shorter: dict[str, object] = ask.pick({"duration": "10s"}, {}, {})
    load = {"policies": policies, "workload.agents": AGENTS["DS-27B"][0] // SHRUNK, **shorter}
    small = ask.runs(SMALL, {**DS_27B, **load, **whole_jobs(ask.size)})
    one = _one_agent(ask, small, policies, "64k")
    rows.append(Row("DS-27B, 1P1D: DualPath over Basic", ratio(one["basic"], one[DUALPATH]),
                    about(2.0, 0.08), 1.78, "×", "two SNICs over one"))  # fmt: skip
    charts.append(_chart("DS-27B", one, "64k", what))
    return Answer(rows, charts, ["Figures are of the real cluster at the paper's size: emulated "
                                 f"times / stretch, rates × {SHRUNK}."])  # fmt: skip


def _one_agent(ask: Asking, runs: list[RunData], policies: list[str], trace: str) -> Times:
    """Policy -> job time of one agent, of which those of more are multiples."""
    return {policy: together([job_time_s(run, policy, ask.size, 1, trace) for run in runs])
            for policy in policies}  # fmt: skip


def _large(one: Times, caps: dict[str, float], what: str, at: int) -> list[Row]:
    agents = AGENTS["DS-660B"][at]
    times = {policy: scaled(found, agents / SHRUNK) for policy, found in one.items()}
    return [
        Row("DualPath over Basic + layerwise", ratio(one["pe-only"], one[DUALPATH]),
            about(1.54, 0.08), 1.54, "×", "the paper's: from caps of 60 and 39 turns/s"),
        Row("DualPath over Basic", ratio(one["basic"], one[DUALPATH]), about(1.87, 0.12),
            1.87, "×", "its layerwise part is fitted: prefill_hbm"),
        Row("Oracle over DualPath", ratio(one[DUALPATH], one["oracle"]), Expected(1.0, 1.15),
            "near 1", "×"),
        *(Row(f"{NAMES[policy]}, {agents} agents, {what}", times[policy],
              about(values[at], 0.12), values[at], "s",
              "fitted: prefill_tflops" if policy == DUALPATH else "fitted: prefill_hbm")
          for policy, values in PAPER.items()),
        Row(f"Basic + layerwise, {agents} agents, {what}", times["pe-only"],
            about(LAYERWISE[at], 0.08), LAYERWISE[at], "s", "nothing of it is fitted"),
        Row("cap: prefill compute, turns/s", inverse(one["oracle"], TRACES["64k"].turns * SHRUNK),
            about(60.0, 0.08), 60.0, note="as Oracle reaches it"),
        *(Row(f"cap: {name}, turns/s", exactly(caps[cap]), about(value, 0.08), value)
          for cap, (value, name) in CAPS.items()),
    ]  # fmt: skip


def _chart(model: str, one: Times, trace: str, what: str) -> Chart:
    paper = PAPER if (model, trace) == ("DS-660B", "64k") else {}
    series = [
        Series(NAMES[policy], [str(agents) for agents in AGENTS[model]],
               [scaled(found, agents / SHRUNK) for agents in AGENTS[model]],
               [*paper.get(policy, [])]) for policy, found in one.items()
    ]  # fmt: skip
    name = f"fig7_{trace}" if model == "DS-660B" else "fig7_ds27b"
    return Chart(name, f"Offline, {model}, {trace}", "agents", f"{what} (s)", series)


STUDY = Study(
    "How much sooner are all agents done when both sides read?",
    "DualPath, figure 7",
    Minutes(5.4, 80, 2150),
    answer,
)
