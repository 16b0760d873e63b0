"""Presentations: found by the workload's name, and true to what the agents record."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import get_args

import msgspec
import pytest

from agents.caps import NicClass
from agents.presentation import PRESENTATION, REQUESTS, VALUES, notes
from agents.records import RequestRecord
from testbed.errors import ConflictError
from testbed.report import presentation
from testbed.report.presentation import Presentation, presentation_of
from tests.unit.report.synthetic import run


def test_the_agents_presentation_is_installed() -> None:
    assert presentation_of("dualpath") is PRESENTATION


def test_a_workload_without_one_has_an_empty_one() -> None:
    assert presentation_of("flows") == Presentation()


@pytest.mark.parametrize("value", ["agents.presentation:notes", "agents.presentation:nothing"])
def test_what_is_no_presentation_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("flows", value, presentation.GROUP)
    monkeypatch.setattr(presentation, "declared", lambda *_: {"flows": entry})
    with pytest.raises(ConflictError, match=r"agents\.presentation|flows"):
        presentation_of("flows")


def test_every_column_that_it_names_is_recorded() -> None:
    recorded = {field.name for field in msgspec.structs.fields(RequestRecord)}
    named = {
        REQUESTS.tries,
        REQUESTS.began,
        REQUESTS.answered,
        REQUESTS.kind,
        REQUESTS.failed,
        *REQUESTS.labels,
    }
    named |= {phase.until for phase in REQUESTS.phases}
    named |= {phase.within[1] for phase in REQUESTS.phases if phase.within}
    assert named <= recorded
    moments = [field for field in recorded if field.startswith("t_")]
    assert set(moments) - named == {"t_second_token"}


def test_the_split_has_the_parts_that_are_asked_for() -> None:
    until = [phase.until for phase in REQUESTS.phases]
    before = REQUESTS.phases[: until.index(REQUESTS.answered) + 1]
    names = {phase.name for phase in before} | {p.within[0] for p in before if p.within}
    assert names >= {"schedule", "allocate", "read", "transfer", "prefill"}


def test_every_class_of_nic_has_words() -> None:
    assert set(get_args(NicClass)) <= set(VALUES)


def test_notes_say_what_the_figures_are_of() -> None:
    engines, scale = notes(run())
    assert "network alone" in engines and "shorter-queue 1.75×" in engines
    assert "4,000 bit/s" in scale and "2 times as long" in scale
    assert notes({}) == []
