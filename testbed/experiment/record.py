"""From a scenario's name to a run directory: load, predict, run, write, and say what came out.

The command line is thin above this; a notebook may call it just as well.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from testbed import interrupts
from testbed.errors import CapacityError, ReportError, UnfaithfulError
from testbed.experiment import digest, runner
from testbed.experiment.document import Document, parse, with_overrides
from testbed.experiment.plugins import find_scenario, plugin_of
from testbed.experiment.provenance import provenance
from testbed.experiment.runner import Progress, Ran
from testbed.experiment.scenario import AUTO, AUTO_START, Scenario, load_scenario
from testbed.experiment.workload import Workload, find_workload
from testbed.plan.compile import compile_plan
from testbed.report import attempt
from testbed.results import layout
from testbed.results.nics import write_nics
from testbed.results.writer import plain, write_json, write_tables


class Asked(NamedTuple):
    """A scenario that is right, and the workload that understands it."""

    scenario: Scenario
    workload: Workload


class Predicted(NamedTuple):
    """What a scenario should come to, without running it.

    Args:
        refusal: why this machine cannot carry it, and what it can; None if it can.
    """

    scenario: Scenario
    prediction: dict[str, Any]
    refusal: CapacityError | None = None

    def as_json(self) -> dict[str, Any]:
        """The object of `testbed predict --json`."""
        found: dict[str, Any] = plain(
            {
                "scenario": self.scenario.name,
                "workload": self.scenario.plugin,
                "predicted": self.prediction,
                "refusal": None
                if self.refusal is None
                else {"message": self.refusal.message, "hint": self.refusal.hint},
            }
        )
        return found

    def lines(self) -> list[str]:
        """The same for people."""
        return digest.predicted_lines(self.scenario.name, self.prediction)

    def judge(self) -> None:
        """Return only if this machine can carry it.

        Raises:
            CapacityError: with the largest scale that it can.
        """
        if self.refusal is not None:
            raise self.refusal


class Finished(NamedTuple):
    """A run that has been written to its directory.

    Args:
        unwritten: reports that should have been, and why they were not.
    """

    path: Path
    ran: Ran
    unwritten: tuple[ReportError, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The documented object of `testbed run --json`."""
        found: dict[str, Any] = plain(
            {
                "run": str(self.path),
                "verdict": self.ran.verdict.status,
                "reasons": self.ran.verdict.reasons,
                "remarks": self.ran.verdict.remarks,
                "unwritten": [error.message for error in self.unwritten],
                **self.ran.comparison,
                "policies": {name: each.summary for name, each in self.ran.outcomes.items()},
            }
        )
        return found

    def lines(self) -> list[str]:
        """The same for people: the verdict first, where to read on last."""
        found = digest.lines(
            str(self.path),
            self.ran.verdict.status,
            self.ran.verdict.reasons,
            plain(self.ran.comparison),
            plain({name: each.summary for name, each in self.ran.outcomes.items()}),
            self.ran.verdict.remarks,
        )
        return found if self.unwritten else [*found, f"report: {self.path / layout.REPORT}"]

    def judge(self, *, accept_unfaithful: bool = False) -> None:
        """Return only if the run is complete and may be believed.

        Args:
            accept_unfaithful: a verdict of FAIL is not an error.

        Raises:
            KeyboardInterrupt: the user ended it before it was complete.
            UnfaithfulError: the verdict is FAIL.
            ReportError: there is no report.
        """
        if self.ran.interrupted:
            ended = KeyboardInterrupt()
            attempt.tell(ended, self.unwritten)
            raise ended
        verdict = self.ran.verdict
        if verdict.status == "FAIL" and not accept_unfaithful:
            count = "1 thing" if len(verdict.reasons) == 1 else f"{len(verdict.reasons)} things"
            doubtful = UnfaithfulError(
                f"the verdict on {self.path} is FAIL: {count} did not hold, "
                f"the first: {verdict.reasons[0]}",
                hint=f"every check is in {self.path / layout.VERDICT}; "
                "--accept-unfaithful exits 0 all the same",
            )
            attempt.tell(doubtful, self.unwritten)
            raise doubtful
        attempt.judge(self.unwritten)


def load(
    name_or_path: str,
    overrides: Mapping[str, str] | None = None,
    *,
    measure: Callable[[str], None] | None = None,
) -> Asked:
    """Find a scenario and its workload, and check all of it.

    Args:
        name_or_path: a shipped scenario, or a YAML file.
        overrides: dotted key paths and YAML values that replace the scenario's.  A `scale` of auto
            is the largest that this machine carries.
        measure: told what of this machine is measured first, if that was never done; None to take
            what is known.

    Raises:
        NotFoundError: there is no such scenario or workload.
        ScenarioError: what is wrong with it.
        CapacityError: the scale is to be chosen, and this machine carries none.
    """
    document = parse(find_scenario(name_or_path))
    start = document.content.get("scale")
    if overrides:
        document = with_overrides(document, overrides)
    workload = find_workload(plugin_of(document, Scenario.model_fields["plugin"].default))
    auto = document.content.get("scale") == AUTO
    begun = _begun(document, start) if auto else document
    if measure is not None:
        # What is wrong is said before half a minute is spent on measuring.
        workload.topology(load_scenario(begun, workload.scenario_type))
        workload.measure_costs(measure)
    if auto:
        found = workload.largest_scale(load_scenario(begun, workload.scenario_type))
        document = replace(document, content={**document.content, "scale": asdict(found)})
    return Asked(load_scenario(document, workload.scenario_type), workload)


def _begun(document: Document, start: object) -> Document:
    """The document with the scale to look for a larger one from: the file's own, if it has one."""
    factors = start if isinstance(start, Mapping) else asdict(AUTO_START)
    return replace(document, content={**document.content, "scale": dict(factors)})


def predict(asked: Asked) -> Predicted:
    """What a scenario should come to, and whether this machine can carry it."""
    scenario, workload = asked
    plan = compile_plan(
        workload.topology(scenario), workload.plan_settings(scenario), name=scenario.topology.name
    )
    prediction = workload.predict(scenario, plan)
    try:
        workload.check(scenario, plan)
    except CapacityError as refusal:
        return Predicted(scenario, prediction, refusal)
    return Predicted(scenario, prediction)


def execute(
    asked: Asked,
    out: Path,
    argv: Sequence[str],
    report: Callable[[Progress], None],
    *,
    order: Sequence[str] | None = None,
) -> Finished:
    """Run a scenario and write its run directory.

    Args:
        asked: what to run.
        out: directory of all runs.
        argv: the command line, for run.json.
        report: called with progress.
        order: of the variants in time, if it is not the scenario's.

    Raises:
        TestbedError: it could not be run.  Logs that were written stay; a note of the error, also
            of a KeyboardInterrupt, says where.  A report that cannot be written is no such error.
    """
    origin = provenance(argv)
    started = datetime.now(UTC)
    with interrupts.held(), _kept(layout.new_run(out, asked.scenario.name)) as path:
        ran = runner.run(asked.scenario, asked.workload, path, report, order)
        ended = datetime.now(UTC)
        _write_tables(path, ran)
        write_json(path / layout.VERDICT, ran.verdict)
        # Last, and at once: a directory with a run.json is a complete run.
        write_json(path / layout.RUN, _document(asked.scenario, ran, origin, started, ended))
        layout.mark_latest(path)
        failed = attempt.attempt(lambda: _write_report(path), path)
    return Finished(path, ran, () if failed is None else (failed,))


@contextlib.contextmanager
def _kept(path: Path) -> Iterator[Path]:
    """If the run fails in the block, say where what was written is; nothing leaves no directory."""
    try:
        yield path
    except BaseException as error:
        if any(file.is_file() for file in path.rglob("*")):
            error.add_note(f"what there is of the run by now is in {path}")
        else:
            shutil.rmtree(path)
        raise


def _document(
    scenario: Scenario, ran: Ran, origin: Mapping[str, Any], started: datetime, ended: datetime
) -> dict[str, Any]:
    """What run.json holds."""
    return {
        "layout_version": layout.LAYOUT_VERSION,
        "name": scenario.name,
        "started": started.isoformat(),
        "ended": ended.isoformat(),
        "interrupted": ran.interrupted,
        "seed": scenario.seed,
        "order": ran.order,
        "scenario": scenario.model_dump(mode="json"),
        **origin,
        "topology": {
            "name": ran.plan.topology,
            "parameters": ran.plan.parameters,
            "domains": len(ran.plan.domains),
            "meters": len(ran.plan.meters),
            "links": [(link.a, link.b) for link in ran.plan.links if link.kind == "link"],
        },
        "calibration": ran.calibration,
        "predicted": ran.prediction,
        "comparison": ran.comparison,
        "policies": {name: _policy(ran, name) for name in ran.outcomes},
    }


def _policy(ran: Ran, name: str) -> dict[str, Any]:
    """What run.json holds of one variant; its times are time.monotonic() seconds."""
    seen, outcome = ran.series[name], ran.outcomes[name]
    return {
        "summary": outcome.summary,
        "window_s": outcome.window,
        "started_s": seen.started_s,
        "ended_s": seen.ended_s,
        "bring_up_s": ran.bring_up_s[name],
        "ready_s": ran.ready_s[name],
        "finished": seen.finished,
        "tcp": _grown(*seen.counted.tcp),
        "account_bytes": {" ".join(nic): size for nic, size in sorted(outcome.account.items())},
    }


def _grown(
    before: Mapping[str, Mapping[str, int]] | None, after: Mapping[str, Mapping[str, int]] | None
) -> dict[str, dict[str, int]] | None:
    """TCP counters of each namespace over the variant; None if they were not read."""
    if before is None or after is None:
        return None
    return {
        domain: {name: value - before.get(domain, {}).get(name, 0) for name, value in now.items()}
        for domain, now in after.items()
    }


def _write_tables(path: Path, ran: Ran) -> None:
    names = dict.fromkeys(name for each in ran.outcomes.values() for name in each.tables)
    for name in names:
        write_tables(
            layout.table_path(path, name),
            {variant: each.tables.get(name, ()) for variant, each in ran.outcomes.items()},
        )
    write_nics(
        layout.table_path(path, "nics"),
        {variant: seen.counted.samples for variant, seen in ran.series.items()},
    )
    write_tables(layout.table_path(path, "machine"), ran.machine)


def _write_report(path: Path) -> None:
    from testbed.report.page import write_report  # matplotlib: not for a prediction

    write_report(path)
