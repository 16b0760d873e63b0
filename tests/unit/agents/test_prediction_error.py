"""Errors of the cost model, from records."""

from __future__ import annotations

import pytest

from agents.prediction_error import prediction_error
from agents.records import PredictionRecord


def record(request: int, path: str, predicted: float, measured: float) -> PredictionRecord:
    return PredictionRecord(request, path, 1.0, 1.0, None, predicted, predicted, measured, 2.0)


def test_errors_are_relative_to_what_happened() -> None:
    records = [
        record(1, "pe", 2.0, 1.0),
        record(2, "pe", 1.0, 2.0),
        record(3, "de", 3.0, 3.0),
        record(4, "de", 9.0, 1.0),  # of a request that does not count
        record(5, "peer", 0.0, 1e-3),  # a copy in DRAM
    ]
    found = prediction_error(records, {1, 2, 3, 5})
    assert found is not None
    assert found["requests"] == 3
    assert found["median"] == pytest.approx(0.5)
    assert found["bias"] == pytest.approx(0.0)
    assert set(found["by_path"]) == {"pe", "de"}
    assert found["by_path"]["pe"]["median"] == pytest.approx(0.75)
    assert prediction_error(records, {5}) is None
