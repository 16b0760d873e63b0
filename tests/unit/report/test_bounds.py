"""Bounds of checks as lines of panels."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from agents.presentation import PRESENTATION
from testbed.fidelity.checks import Check
from testbed.fidelity.machine_checks import MACHINE, TIMERS
from testbed.report import figures
from testbed.report.bounds import of_processors, of_timers
from testbed.report.variants import variants_of
from testbed.results.load import load
from tests.unit.report import synthetic


def check(name: str, limits: dict[str, float], variant: str = "a") -> Check:
    return Check(name, variant, True, "", "", "", limits=limits)


CHECKS = [
    check(MACHINE, {"cpu_share": 0.85}),
    check(TIMERS, {"p99_s": 0.05}),
    check("loop lag", {"mean_s": 0.003, "p99_s": 0.05}),
    check("loop lag", {"mean_s": 1.0}, "b"),
]


def test_processors_have_the_bound_of_their_check() -> None:
    (bound,) = of_processors(CHECKS, "a")
    assert bound.at == pytest.approx(85)
    assert bound.label == "asked: mean of the window ≤ 85\u202f%"
    assert of_processors(CHECKS, "b") == []


def test_timers_have_those_of_programs_and_of_the_monitor() -> None:
    found = of_timers(CHECKS, "a", PRESENTATION.lateness, seen_s=0.02)
    assert [(each.at, each.own) for each in found] == [
        (pytest.approx(50), True), (pytest.approx(3), False), (pytest.approx(50), False)
    ]  # fmt: skip
    assert not any(each.beyond for each in found)
    assert [each.label for each in found] == [
        "asked: the monitor's p99 ≤ 50\u202fms",
        "asked: each program's mean ≤ 3\u202fms",
        "asked: each program's p99 ≤ 50\u202fms",
    ]
    own = of_timers(CHECKS, "a", None, seen_s=0.02)
    assert [each.own for each in own] == [True]


def test_a_bound_far_above_what_was_seen_does_not_flatten_it() -> None:
    found = of_timers(CHECKS, "a", PRESENTATION.lateness, seen_s=0.01)
    assert [each.beyond for each in found] == [True, False, True]
    assert found[0].label.startswith("↑ ")


def test_checks_of_before_there_were_numbers_draw_nothing() -> None:
    old = [Check(MACHINE, "a", True, "50%", "≤ 85% of all cores", "")]
    assert of_processors(old, "a") == []


def test_the_figure_has_a_line_and_a_label_for_each(tmp_path: Path) -> None:
    variants = variants_of(load(synthetic.write(tmp_path)), PRESENTATION)
    drawn = figures.machine(variants)
    for one in variants:
        for bound in (*one.asked_cpu, *one.asked_lag):
            assert bound.label in drawn
        one.asked_cpu, one.asked_lag = [], []
    without = figures.machine(variants)
    assert "asked" not in without
    dashed = "stroke-dasharray"
    # Of each: processors, and of programs mean and p99; the monitor's is beyond.
    assert drawn.count(dashed) - without.count(dashed) == 3 * len(variants)


def test_a_later_variant_whose_timers_were_later_is_drawn_whole(tmp_path: Path) -> None:
    first, second = variants_of(load(synthetic.write(tmp_path)), PRESENTATION)
    assert second.late is not None
    second.late = replace(second.late, late_s=second.late.late_s + 0.4)
    texts = re.findall(r">(\d+)</text>", figures.machine([first, second]))
    assert max(map(int, texts)) >= 400, "ticks of the axis that both share, ms"
