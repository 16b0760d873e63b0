"""Predicted | measured."""

from __future__ import annotations

import os

import pytest

from testbed.experiment.measured import beside, machine_figures
from testbed.experiment.workload import Series
from testbed.fidelity.monitor import MachineSample


def sample(t_s: float, cpu_share: float, available_bytes: int) -> MachineSample:
    return MachineSample(t_s, cpu_share, 0, 0, 0, 0, 0.0, 1.0, 0.0, available_bytes)


def test_what_a_variant_took_of_the_machine() -> None:
    series = Series(started_s=10.0, ended_s=30.0)
    seen = [sample(12, 0.9, 900), sample(16, 0.5, 700), sample(20, 0.7, 800), sample(29, 0.1, 950)]
    found = machine_figures(
        series, (15.0, 25.0), seen, bring_up_s=0.5, ready_s=1.0, available_bytes=1000
    )
    # Of the ten seconds one was busy by 0.5, four by 0.7 and five by 0.1.
    assert found["cores"] == pytest.approx(0.38 * (os.cpu_count() or 1))
    assert found["memory_bytes"] == 300
    assert (found["warm_up_s"], found["window_length_s"], found["drain_s"]) == (5.0, 10.0, 5.0)
    assert found["length_s"] == 21.5


def test_without_a_window_there_is_no_mean_load() -> None:
    found = machine_figures(
        Series(1.0, 2.0), None, [], bring_up_s=0.5, ready_s=1.0, available_bytes=1000
    )
    assert found["cores"] is None and found["drain_s"] is None and found["memory_bytes"] is None


def test_memory_that_others_gave_back_meanwhile_hides_what_was_taken() -> None:
    found = machine_figures(
        Series(1.0, 9.0), None, [sample(2, 0.1, 1200)], bring_up_s=0, ready_s=0,
        available_bytes=1000,
    )  # fmt: skip
    assert found["memory_bytes"] is None


def test_figures_of_one_name_are_side_by_side() -> None:
    prediction = {
        "policies": {
            "a": {
                "load_bps": 100.0,
                "bound_by": "x",
                "binds": "m",
                "speedup": 1.0,
                "share": 0.5,
                "cores": None,
            },
            "b": {
                "load_bps": 200.0,
                "bound_by": "y",
                "binds": "m",
                "speedup": 2.0,
                "share": 0.5,
                "cores": 1,
            },
        }
    }
    measured = {
        "a": {"load_bps": 90.0, "bound_by": "z", "binds": "m", "cores": 1.0},
        "b": {"load_bps": None, "bound_by": "y", "binds": "n", "cores": 1.5},
    }
    comparison = {"speedup": {"a": {"load_bps": 1.0}, "b": {"load_bps": None, "turns_per_s": 1.9}}}
    found = beside(prediction, measured, comparison)
    assert found["a"]["load_bps"] == {
        "predicted": 100.0, "measured": 90.0, "error": pytest.approx(-0.1)
    }  # fmt: skip
    assert found["a"]["bound_by"] == {"predicted": "x", "measured": "z", "error": None}
    assert found["a"]["binds"] == {
        "predicted": "m", "measured": "m", "error": None, "same": True
    }  # fmt: skip
    assert found["b"]["binds"]["same"] is False
    assert "share" not in found["a"], "it is not measured by that name"
    assert found["b"]["load_bps"]["error"] is None
    assert found["b"]["speedup"]["error"] == pytest.approx(-0.05)
    assert found["b"]["cores"]["error"] == pytest.approx(0.5)


def test_a_variant_that_was_not_predicted_has_nothing_beside_it() -> None:
    assert beside({}, {"a": {"x": 1}}, {}) == {"a": {}}


def test_what_was_not_measured_is_neither_the_same_nor_another() -> None:
    found = beside({"policies": {"a": {"binds": "m"}}}, {"a": {"binds": None}}, {})
    assert found["a"]["binds"]["same"] is None
