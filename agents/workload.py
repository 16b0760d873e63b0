"""The DualPath workload: what the runner needs to know of agents."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from mininet.topo import Topo

from agents import cluster as cluster_file
from agents import entry_modules
from agents.capacity import MachineLimits
from agents.checks import own_checks
from agents.cluster import CLIENT, SCHEDULER, Cluster, Load, Scheduling
from agents.comparison import comparison
from agents.costing.kept import Known, known, measured_once
from agents.fault_settings import misplaced, timetable
from agents.forecast import Forecast, forecast
from agents.foreseen import figures, refuse
from agents.idle_overhead import has_idle_request
from agents.limits import Limits, formula_limits
from agents.needs import site_of
from agents.profile import profile_of, profile_runs
from agents.recorded import Run
from agents.records import (
    AnyRecord,
    CacheRecord,
    CollectiveRecord,
    EventRecord,
    IterationRecord,
    LoopLagRecord,
    PredictionRecord,
    ProcessRecord,
    RequestRecord,
    RoundTripRecord,
    SessionRecord,
    StepRecord,
    StorageRecord,
    read_records,
)
from agents.scaling import Carried
from agents.scheduler.policies import policy_caches
from agents.settings import DualPathScenario
from agents.summary import summarise
from agents.traffic.offered import execution_of, submission_of
from agents.transfer_figures import TransferRow
from testbed.errors import CapacityError, ScenarioError
from testbed.experiment.profile import Profile
from testbed.experiment.scale import Scale
from testbed.experiment.workload import Outcome, Placed, Series
from testbed.kernel.machine import machine
from testbed.plan.compile import PlanSettings, compile_plan
from testbed.plan.model import Plan
from testbed.plan.source import build_topology
from testbed.sandbox.program import Program

_TABLES: dict[str, type] = {
    "requests": RequestRecord,
    "predictions": PredictionRecord,
    "transfers": TransferRow,
    "events": EventRecord,
    "sessions": SessionRecord,
    "collectives": CollectiveRecord,
    "processes": ProcessRecord,
    "storage": StorageRecord,
    "iterations": IterationRecord,
    "steps": StepRecord,
    "caches": CacheRecord,
    "round_trips": RoundTripRecord,
    "loop_lags": LoopLagRecord,
}
_WRITE_BYTES = 256 * 1024
_UNLIMITED_HBM_BYTES = 8 << 30  # of address space: pages are taken as they are used


class DualPath:
    """Agents on a DualPath cluster: one variant for each read-path policy."""

    scenario_type = DualPathScenario

    def __init__(self) -> None:
        self._latest: tuple[DualPathScenario, Plan, Forecast] | None = None
        self._costs: Known | None = None

    def topology(self, scenario: DualPathScenario) -> Topo:
        """The cluster, at emulated rates."""
        return build_topology(scenario.topology.name, scenario.topology_settings)

    def plan_settings(self, scenario: DualPathScenario) -> PlanSettings:
        """What the scenario says of links and queues."""
        lanes = scenario.traffic.mode != "no-lanes"
        return dataclasses.replace(
            scenario.network.plan_settings(scenario.arbitration), lanes=lanes
        )

    def _forecast(self, scenario: DualPathScenario, plan: Plan) -> Forecast:
        latest = self._latest
        if latest is None or latest[0] is not scenario or latest[1] is not plan:
            found = forecast(scenario, plan, self._known.costs)
            latest = self._latest = (scenario, plan, found)
        return latest[2]

    @property
    def _known(self) -> Known:
        """What is known of this machine's costs; read when it is first needed."""
        if self._costs is None:
            self._costs = known()
        return self._costs

    def measure_costs(self, report: Callable[[str], None]) -> None:
        """What the agents' work costs this machine; at once if that is known."""
        self._costs, self._latest = measured_once(report), None

    def predict(self, scenario: DualPathScenario, plan: Plan) -> dict[str, Any]:
        """Caps, rates of each policy, what the machine needs and how long it takes."""
        _check_faults(scenario, plan)
        found = self._forecast(scenario, plan)
        limits = _limits_here(scenario)
        scheduler = {"scheduler": _limits(scenario, found)._asdict()}
        return figures(scenario, found, self._known, limits) | scheduler

    def check(self, scenario: DualPathScenario, plan: Plan) -> None:
        """CapacityError, with the largest scale that fits, if this machine cannot carry it."""
        refuse(scenario, self._forecast(scenario, plan), self._known, _limits_here(scenario))

    def largest_scale(self, scenario: DualPathScenario) -> Scale:
        """The largest that this machine carries, with the scenario's stretch where that helps."""
        site, limits = site_of(self._plan(scenario)), _limits_here(scenario)
        found = Carried(scenario, site, self._known.costs, limits).largest()
        if found is None:
            raise CapacityError(
                f"this machine carries {scenario.name} at no scale",
                hint="choose a smaller topology or fewer agents, or a larger cpu_share",
            )
        return found

    def variants(self, scenario: DualPathScenario) -> list[str]:
        """The policies; the first is the baseline."""
        return list(scenario.variants)

    def programs(
        self, scenario: DualPathScenario, plan: Plan, variant: str, directory: Path
    ) -> list[Placed]:
        """One process for each node, storage node, the scheduler and the client."""
        cluster = self._cluster(scenario, plan, variant, directory)
        file = directory / "cluster.json"
        cluster_file.write(cluster, file)
        modules = {
            **dict.fromkeys(cluster.storage, entry_modules.STORAGE),
            **dict.fromkeys([*cluster.prefill, *cluster.decode], entry_modules.NODE),
            SCHEDULER: entry_modules.SCHEDULER,
            CLIENT: entry_modules.CLIENT,
        }
        nodes = {*cluster.prefill, *cluster.decode}

        def program(name: str, incarnation: int = 0) -> Program:
            arguments = ["--name", name, "--cluster", str(file.resolve())]
            if incarnation:
                arguments += ["--incarnation", str(incarnation)]
            return Program(
                tuple(arguments),
                name,
                module=modules[name],
                preload=entry_modules.ALL,
                environment=entry_modules.ENVIRONMENT,
                broker=name in nodes,
            )

        starts = [step.target for step in cluster.faults if step.action == "start"]
        return [
            Placed(
                name,
                program(name),
                tuple(program(name, n) for n in range(1, 1 + starts.count(name))),
            )
            for name in modules
        ]

    def _cluster(
        self, scenario: DualPathScenario, plan: Plan, variant: str, directory: Path
    ) -> Cluster:
        found = self._forecast(scenario, plan)
        chosen = scenario.variants[variant]
        dram = {name: d for name, d in plan.domains.items() if d.kind == "dram"}
        by_role = _nodes_by_role(plan)
        buffers = found.buffers
        if scenario.engines == "network-only":
            buffers = msgspec.structs.replace(
                buffers, hbm=_UNLIMITED_HBM_BYTES, prefill_hbm=_UNLIMITED_HBM_BYTES
            )
        return Cluster(
            control={name: d.addresses["mgmt"] for name, d in dram.items()},
            prefill=by_role["prefill"],
            decode=by_role["decode"],
            storage=by_role["storage"],
            rails=found.shape.engines,
            addresses={name: dict(d.addresses) for name, d in plan.domains.items()},
            layers=scenario.layout.layers,
            layer_block_bytes=scenario.layout.layer_block_bytes,
            block_tokens=scenario.layout.block_tokens,
            layers_per_transfer=found.layers_per_transfer,
            hbm_layers=found.hbm_layers,
            engine_requests=scenario.prefill.concurrent_requests,
            read_window=scenario.read_window,
            write_bytes=_WRITE_BYTES,
            engines=scenario.engines,
            compute=found.compute,
            buffers=buffers,
            storage_directory=str(_storage_directory(scenario)),
            storage_bytes=found.storage_bytes,
            storage_eviction=scenario.storage.eviction,
            extent_blocks=scenario.storage.extent_tokens // scenario.layout.block_tokens,
            scheduling=_scheduling(scenario, found),
            policy=chosen.policy,
            load=Load(
                scenario.trace_spec,
                found.agents,
                scenario.workload.start,
                scenario.window.warm_up,
                scenario.window.warm_up_turns,
                scenario.duration,
                found.arrivals,
                found.steady,
                scenario.workload.sessions == "endless",
            ),
            seed=scenario.seed,
            records=str(directory.resolve()),
            quota_s=found.scale.emulated_s(scenario.prefill.quota),
            layerwise=chosen.layerwise,
            moves_kv=chosen.moves_kv,
            kv=scenario.kv,
            traffic=scenario.traffic.mode,
            execution=execution_of(scenario, found.shape, found.passes),
            batched=scenario.traffic.batched,
            submission=submission_of(scenario),
            snic_bps=found.shape.snic_bps,
            cnic_bps=found.shape.cnic_bps,
            cache_bytes=found.cache_bytes if policy_caches(chosen.policy) else 0,
            faults=timetable(scenario.faults),
            silent_after_s=scenario.silent_after_s,
            idle_request=has_idle_request(scenario, variant),
        )

    def outcome(
        self,
        scenario: DualPathScenario,
        plan: Plan,
        variant: str,
        directory: Path,
        series: Series,
    ) -> Outcome:
        """Read what the processes recorded, and say what it comes to."""
        records: dict[type, list[AnyRecord]] = {}
        for file in sorted(directory.glob("*.records")):
            for record in read_records(file):
                records.setdefault(type(record), []).append(record)
        records.setdefault(EventRecord, []).extend(
            EventRecord(done.program, done.t_s, "fault", 0, done.action) for done in series.provoked
        )
        seen = Run(
            scenario=scenario,
            plan=plan,
            variant=variant,
            records=records,
            samples=series.counted.samples,
            fields=series.finished,
            interrupted_s=series.interrupted_s,
        )
        account = seen.account()
        return Outcome(
            summary=summarise(seen),
            tables={
                **{name: records.get(kind, []) for name, kind in _TABLES.items()},
                "transfers": seen.transfer_rows,
            },
            window=seen.window,
            checks=own_checks(seen),
            account=account,
            unaccounted=seen.unaccounted(),
        )

    def compare(
        self,
        scenario: DualPathScenario,
        prediction: dict[str, Any],
        outcomes: Mapping[str, Outcome],
    ) -> dict[str, Any]:
        """Scale, speed-ups, bytes verified: figures over all policies."""
        return comparison(scenario, prediction, outcomes)

    def profile_runs(self, scenario: DualPathScenario) -> Mapping[str, DualPathScenario]:
        """Short runs that alpha and beta of the scheduler follow from."""
        found = self._forecast(scenario, self._plan(scenario))
        return profile_runs(scenario, found.shape.prefill * found.shape.engines, found.agents)

    def profile(self, scenario: DualPathScenario, outcomes: Mapping[str, Outcome]) -> Profile:
        """alpha and beta, measured."""
        found = self._forecast(scenario, self._plan(scenario))
        return profile_of(scenario, _formula(scenario, found), outcomes)

    def _plan(self, scenario: DualPathScenario) -> Plan:
        return compile_plan(self.topology(scenario), self.plan_settings(scenario))


def _nodes_by_role(plan: Plan) -> dict[str, list[str]]:
    return {
        role: [name for name, d in plan.domains.items() if d.kind == "dram" and d.role == role]
        for role in ("prefill", "decode", "storage")
    }


def _check_faults(scenario: DualPathScenario, plan: Plan) -> None:
    """Only the cluster knows its nodes.

    Raises:
        ScenarioError: a fault is of a node that is not there.
    """
    roles = _nodes_by_role(plan)
    for number, fault in enumerate(scenario.faults):
        if wrong := misplaced(fault, roles):
            raise ScenarioError(f"faults[{number}]: {wrong}", hint="name a node of the topology")


def _limits_here(scenario: DualPathScenario) -> MachineLimits:
    here = machine()
    return MachineLimits(here.cores, scenario.cpu_share, here.room_bytes)


def _formula(scenario: DualPathScenario, found: Forecast) -> Limits:
    layout = scenario.layout
    return formula_limits(
        found.shape,
        found.times,
        stretch=scenario.realised_scale.stretch,
        token_bytes=layout.full_block_bytes / layout.block_tokens,
        prompt_tokens=found.means.prompt_tokens,
    )


def _limits(scenario: DualPathScenario, found: Forecast) -> Limits:
    """alpha and beta, as given or by their formulae."""
    given, formula = scenario.scheduler, _formula(scenario, found)
    return Limits(
        formula.alpha_tokens if given.alpha == "auto" else given.alpha,
        formula.beta_tokens if given.beta == "auto" else given.beta,
    )


def _scheduling(scenario: DualPathScenario, found: Forecast) -> Scheduling:
    given, limits = scenario.scheduler, _limits(scenario, found)
    return Scheduling(
        placement=given.placement,
        fetch_period_s=scenario.realised_scale.emulated_s(given.fetch_period),
        alpha_tokens=limits.alpha_tokens,
        beta_tokens=limits.beta_tokens,
        unreported=given.unreported,
        read_queue_falls=given.read_queue_falls,
        free_hbm=given.free_hbm,
        ties=given.ties,
        prefill_scope=given.prefill_scope,
        attempts=given.attempts,
    )


def _storage_directory(scenario: DualPathScenario) -> Path:
    """Where storage keeps its blocks: a directory of the user's, else memory."""
    if scenario.storage.directory is not None:
        return Path(scenario.storage.directory).expanduser().resolve()
    # Inside a testbed /dev/shm is a tmpfs of the node's own, and goes with it.
    return Path("/dev/shm")
