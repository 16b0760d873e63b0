"""What the verdict asks of model execution: that what was computed was also exchanged."""

from __future__ import annotations

from agents.accounts import node_of
from agents.recorded import Run
from agents.records import CollectiveRecord, IterationRecord, StepRecord
from agents.traffic.offered import layer_share
from testbed.fidelity.checks import Check

_APART = 0.1  # a batch that fails half-way was counted as a whole


def exchanged(run: Run) -> Check:
    """Collectives had as many tokens and layers as prefill iterations and decode steps.

    Whatever is fused, and however often: every layer of every token is exchanged once.  What an
    engine was still putting together at the end, a pass of its largest batch at most, may be
    missing.  Engines of a node that was lost are left out: so is a part of their records.
    """
    layers = run.scenario.layout.layers * layer_share(run.scenario.resolved_model)
    passes = [(record.engine, record.tokens) for record in run.of(IterationRecord)]
    passes += [(record.engine, record.requests) for record in run.of(StepRecord)]
    passes = [(engine, tokens) for engine, tokens in passes if node_of(engine) not in run.lost]
    computed: dict[str, int] = {}
    largest: dict[str, int] = {}
    for engine, tokens in passes:
        computed[engine] = computed.get(engine, 0) + tokens
        largest[engine] = max(largest.get(engine, 0), tokens)
    sent: dict[str, float] = {}
    for record in run.of(CollectiveRecord):
        if node_of(record.engine) in run.lost:
            continue
        sent[record.engine] = sent.get(record.engine, 0.0) + record.layers * record.tokens
    apart = {
        engine: (sent.get(engine, 0.0), computed.get(engine, 0) * layers)
        for engine in computed.keys() | sent.keys()
        if abs(sent.get(engine, 0.0) - computed.get(engine, 0) * layers)
        > layers * (_APART * computed.get(engine, 0) + largest.get(engine, 0))
    }
    reason = "" if computed else "no engine computed anything"
    if apart:
        engine = max(apart, key=lambda name: abs(apart[name][0] - apart[name][1]))
        found, due = apart[engine]
        reason = f"{engine} computed {due:.0f} tokens x layers and exchanged {found:.0f}"
    total, due = sum(sent.values()), sum(computed.values()) * layers
    return Check(
        "all that was computed was exchanged", run.variant, not reason,
        f"{total:.4g} tokens x layers in {len(run.of(CollectiveRecord))} collectives",
        f"{due:.4g} within {_APART:.0%} and a pass of each engine", reason,
    )  # fmt: skip
