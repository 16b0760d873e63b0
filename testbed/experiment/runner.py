"""Running a scenario: predict, bring up, run each variant, check, write, report.

A fresh cluster is brought up for each variant, so that no queue, connection or page of one is met
by the next.  Ctrl-C ends the present variant cleanly and reports what there is by then; a second
one, while programs stop, gives the variant up.  All else is not interrupted: it does not wait.
"""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from testbed import interrupts
from testbed.experiment.measured import beside, machine_figures
from testbed.experiment.programs import Running
from testbed.experiment.scenario import Scenario
from testbed.experiment.workload import Outcome, Series, Workload
from testbed.fidelity import calibration
from testbed.fidelity import verdict as verdicts
from testbed.fidelity.calibration import Calibration
from testbed.fidelity.checks import Check
from testbed.fidelity.monitor import Monitor
from testbed.fidelity.sampler import SAMPLE_PERIOD_S, Sampler
from testbed.kernel.machine import machine
from testbed.lab import Lab
from testbed.plan.compile import compile_plan
from testbed.plan.model import Plan
from testbed.results import layout

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0


class Progress(NamedTuple):
    """What is going on, for whoever watches.

    Args:
        variant: the variant that runs.
        phase: "bring-up", "calibrate", "start", "warm-up", "measure", "drain", "collect";
            "stop" when the user has ended it.
        fields: what the leading program said last (requests done, ETA, …).
        rates_bps: NIC kind and direction -> rate over the last sample.
    """

    variant: str
    phase: str
    fields: dict[str, Any]
    rates_bps: dict[str, float]


class Ran(NamedTuple):
    """A finished run: what was predicted, seen and judged.

    `order` is the variants' in time; `calibration` is of the cluster of the first, None if the
    scenario asked for none.
    """

    plan: Plan
    prediction: dict[str, Any]
    outcomes: dict[str, Outcome]
    comparison: dict[str, Any]
    verdict: verdicts.Verdict
    series: dict[str, Series]
    machine: dict[str, list[Any]]
    bring_up_s: dict[str, float]
    ready_s: dict[str, float]
    interrupted: bool
    order: Sequence[str] = ()
    calibration: Calibration | None = None


def run(
    scenario: Scenario,
    workload: Workload,
    directory: Path,
    report: Callable[[Progress], None],
    order: Sequence[str] | None = None,
) -> Ran:
    """Run every variant of a scenario.

    Args:
        scenario: what to run.
        workload: the plug-in that understands it.
        directory: the run directory; `records/` and `logs/` are filled here.
        report: called with progress, from this thread.
        order: of the variants in time; results keep the scenario's, whose first is the baseline.

    Raises:
        CapacityError: the machine cannot carry it.
        ProgramError: a program died.
    """
    plan = compile_plan(
        workload.topology(scenario),
        workload.plan_settings(scenario),
        name=scenario.topology.name,
    )
    prediction = workload.predict(scenario, plan)
    workload.check(scenario, plan)
    outcomes: dict[str, Outcome] = {}
    found: dict[str, _Seen] = {}
    checks: list[Check] = []
    calibrated: Calibration | None = None
    interrupted = False
    variants = workload.variants(scenario)
    for variant in variants if order is None else order:
        records = directory / layout.RECORDS / variant
        try:
            seen = _run_variant(
                scenario, workload, plan, variant, directory, report,
                calibrated=scenario.calibration and not found,
            )  # fmt: skip
        except KeyboardInterrupt:
            if not found:
                raise  # there is nothing yet
            interrupted = True
            break
        found[variant] = seen
        if seen.calibration is not None:
            calibrated = seen.calibration
            checks.extend(calibration.checks(variant, calibrated))
        outcome = workload.outcome(scenario, plan, variant, records, seen.series)
        outcomes[variant] = outcome
        counted = seen.series.counted
        checks.extend(
            verdicts.check_cluster(
                variant, plan, counted, seen.machine, outcome.window, seen.differences
            )
        )
        checks.extend(
            verdicts.check_load(variant, plan, counted, outcome.account, outcome.unaccounted)
        )
        checks.extend(outcome.checks)
        if seen.series.interrupted_s is not None:
            interrupted = True
            break
    ran_in = list(found)
    found = {name: found[name] for name in variants if name in found}
    outcomes = {name: outcomes[name] for name in found}
    comparison = workload.compare(scenario, prediction, outcomes)
    measured = {
        name: outcomes[name].summary | _machine_figures(seen, outcomes[name].window)
        for name, seen in found.items()
    }
    return Ran(
        plan,
        prediction,
        outcomes,
        comparison | {"predicted_measured": beside(prediction, measured, comparison)},
        verdicts.judge(checks, interrupted=interrupted),
        {name: seen.series for name, seen in found.items()},
        {name: seen.machine for name, seen in found.items()},
        {name: seen.bring_up_s for name, seen in found.items()},
        {name: seen.ready_s for name, seen in found.items()},
        interrupted,
        ran_in,
        calibrated,
    )


class _Seen(NamedTuple):
    """What one variant brought; `differences` of its cluster from the plan, at the end."""

    series: Series
    machine: list[Any]
    bring_up_s: float
    ready_s: float
    differences: list[str]
    calibration: Calibration | None
    available_bytes: int


def _machine_figures(seen: _Seen, window: tuple[float, float] | None) -> dict[str, Any]:
    return machine_figures(
        seen.series,
        window,
        seen.machine,
        bring_up_s=seen.bring_up_s,
        ready_s=seen.ready_s,
        available_bytes=seen.available_bytes,
    )


def _run_variant(
    scenario: Scenario,
    workload: Workload,
    plan: Plan,
    variant: str,
    directory: Path,
    report: Callable[[Progress], None],
    *,
    calibrated: bool,
) -> _Seen:
    """Run one variant on a cluster of its own; a KeyboardInterrupt outside its load is raised.

    Args:
        calibrated: load its links first, before anything else runs on it.
    """
    records, logs = directory / layout.RECORDS / variant, directory / layout.LOGS / variant
    records.mkdir(parents=True)
    logs.mkdir(parents=True)
    report(Progress(variant, "bring-up", {}, {}))
    available_bytes = machine().available_bytes
    began_s = time.monotonic()
    with contextlib.ExitStack() as cluster, contextlib.ExitStack() as programs:
        with interrupts.let_through():
            lab = cluster.enter_context(Lab(plan))
            up_s = time.monotonic()
            links = _calibrate(lab, variant, report) if calibrated else None
            start_s = time.monotonic()
            report(Progress(variant, "start", {}, {}))
            placed = workload.programs(scenario, plan, variant, records)
            running = programs.enter_context(Running(lab, placed, logs))
            running.await_all("ready", READY_TIMEOUT_S)
        ready_s = time.monotonic()
        monitor = Monitor()
        with _uncollected():
            monitor.start()
            try:
                series = _measure(lab, running, variant, report)
            finally:
                watched = monitor.stop()
        programs.close()
        report(Progress(variant, "collect", {}, {}))
        # Whatever was changed behind the testbed's back, what was measured was another cluster.
        differences = lab.verify()
    return _Seen(
        series, watched, up_s - began_s, ready_s - start_s, differences, links, available_bytes
    )


def _calibrate(lab: Lab, variant: str, report: Callable[[Progress], None]) -> Calibration:
    """Load the links, and say at once what will fail the verdict."""
    report(Progress(variant, "calibrate", {}, {}))
    found = calibration.calibrate(lab)
    for check in calibration.checks(variant, found):
        if not check.ok:
            said = f"{check.name}: {check.measured}, {check.reason}; the verdict will be FAIL"
            report(Progress(variant, "calibrate", {"warning": said}, {}))
    return found


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Without garbage collection: samples pile up, and the monitor is to time the machine only."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _measure(
    lab: Lab, running: Running, variant: str, report: Callable[[Progress], None]
) -> Series:
    seen = Series(started_s=time.monotonic())
    sampler = Sampler(lab)
    try:
        with interrupts.let_through():
            running.tell("start")
            _follow(running, variant, report, sampler, seen)
    except KeyboardInterrupt:
        seen.interrupted_s = time.monotonic()
        report(Progress(variant, "stop", {}, {}))
    with interrupts.let_through(at=2):
        running.tell("stop")
        running.await_all("stopped", STOP_TIMEOUT_S)
    seen.counted = sampler.stop()
    seen.ended_s = time.monotonic()
    with interrupts.let_through(at=2):
        running.end(STOP_TIMEOUT_S)
    return seen


def _follow(
    running: Running,
    variant: str,
    report: Callable[[Progress], None],
    sampler: Sampler,
    seen: Series,
) -> None:
    """Until the leading program has finished: pass on what it says, provoke what it asks for."""
    while True:
        said = running.next(SAMPLE_PERIOD_S * 5)
        if said is not None and said.name == running.leader:
            if said.event == "provoke":
                action, program = (str(said.fields.get(k)) for k in ("action", "program"))
                seen.provoked.append(running.provoke(action, program))
                continue
            seen.finished = said.fields
            if said.event == "finished":
                return
        phase = str(seen.finished.get("phase", "warm-up"))
        report(Progress(variant, phase, seen.finished, _rates(sampler)))


def _rates(sampler: Sampler) -> dict[str, float]:
    """Rates by NIC kind and direction between the last two samples."""
    if len(sampler.samples) < 2:
        return {}
    before, after = sampler.samples[-2], sampler.samples[-1]
    rates: dict[str, float] = {}
    for old, new in zip(before, after, strict=True):
        elapsed_s = new.t_s - old.t_s
        if elapsed_s > 0:
            name = f"{new.kind} {new.direction}"
            rates[name] = rates.get(name, 0.0) + (new.bytes - old.bytes) * 8 / elapsed_s
    return rates
