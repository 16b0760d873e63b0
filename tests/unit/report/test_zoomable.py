"""What the page's script is given."""

from __future__ import annotations

import base64
import gzip
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agents.presentation import PRESENTATION, REQUESTS
from testbed.errors import UnsupportedError
from testbed.report import zoomable
from testbed.report.requests import over_time
from testbed.report.variants import variants_of
from testbed.report.words import Words
from testbed.results.load import load
from tests.unit.report import synthetic


def _unpacked(packed: str) -> bytes:
    return gzip.decompress(base64.b64decode(packed))


@pytest.fixture
def panel(tmp_path: Path) -> dict[str, Any]:
    first = variants_of(load(synthetic.write(tmp_path)), PRESENTATION)[0]
    assert first.rows is not None
    points, _ = over_time(first.rows, REQUESTS)
    return zoomable.panel(
        first, points, "Lateness (asked: ≤ 1 ms)", Words({}, {"pe": "by prefill"})
    )


def test_the_data_are_the_tables_in_seconds_since_the_start(panel: dict[str, Any]) -> None:
    data = json.loads(_unpacked(zoomable.payload([panel], ["de", "pe"], "Wait")))
    (variant,) = data["variants"]
    assert (data["title"], data["kinds"], variant["window"]) == ("Wait", ["de", "pe"], [1.0, 4.0])
    first = variant["series"][0]
    assert first["name"] == "prefill SNIC in"
    assert first["t"][:2] == [0.1, 0.2]
    assert set(first["mean"]) == {99.0}
    by_kind = {each["kind"]: each for each in variant["points"]}
    assert set(by_kind) == {"pe", "de", "failed"}
    assert by_kind["failed"]["wait"] == [0.0]
    assert by_kind["pe"]["said"] == "by prefill" and by_kind["de"]["said"] == "de"
    assert len(variant["machine"]["t"]) == len(variant["machine"]["cpu"]) == 25
    assert set(variant["late"]["late"]) == {3.0} and set(variant["late"]["who"]) == {"de0"}
    assert variant["late"]["said"] == "Lateness (asked: ≤ 1 ms)"
    assert [(each["at"], each["beyond"]) for each in variant["asked_cpu"]] == [(85.0, False)]
    assert [(each["at"], each["own"], each["beyond"]) for each in variant["asked_lag"]] == [
        (50.0, True, True), (1.0, False, False), (5.0, False, False)
    ]  # fmt: skip
    assert variant["marks"] == [1.5, 3.5]
    assert variant["labels"] == [[1.5, "1"], [3.5, "2"]]


def test_the_same_content_is_packed_alike() -> None:
    assert zoomable.packed(b"x" * 100) == zoomable.packed(b"x" * 100)


def test_the_library_comes_from_the_installed_package_and_is_not_imported() -> None:
    code = _unpacked(zoomable.library())
    assert b"Bokeh" in code and len(code) > 500_000
    assert "bokeh" not in sys.modules


@pytest.mark.parametrize("found", [None, "nowhere"])
def test_a_library_that_is_not_there_is_said(
    found: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = None if found is None else SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(zoomable, "find_spec", lambda _: spec)
    with pytest.raises(UnsupportedError, match="BokehJS"):
        zoomable.library()
