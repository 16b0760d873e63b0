"""How the processes of a run are started."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents import entry_modules
from agents.costing import kept
from agents.workload import DualPath
from testbed.plan.compile import compile_plan
from tests.unit.agents.test_scaling import shipped


def test_what_they_are_made_of_is_imported_once_for_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "directory", lambda: tmp_path / "costs")  # known of no machine
    scenario, workload = shipped("demo"), DualPath()
    plan = compile_plan(workload.topology(scenario), workload.plan_settings(scenario))
    placed = workload.programs(scenario, plan, "pe-only", tmp_path)
    programs = [one.program for one in placed]
    assert {program.module for program in programs} == set(entry_modules.ALL)
    for program in programs:  # a testbed preloads for programs of one kind
        assert program.fork
        assert program.preload == entry_modules.ALL
        assert program.environment == programs[0].environment
        assert program.module_path == ()
