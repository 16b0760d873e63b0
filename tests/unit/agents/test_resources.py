"""The one vocabulary of what binds."""

from __future__ import annotations

import pytest

from agents.resources import of_nics, of_readers


@pytest.mark.parametrize(
    ("full", "fullest", "word"),
    [
        (["pe-snic-in"], "pe-snic-in", "pe-snics"),
        (["de-snic-in"], "de-snic-in", "de-snics"),
        (["de-snic-in", "pe-snic-in"], "de-snic-in", "all-snics"),
        (["de-snic-in", "pe-cnic-read"], "de-snic-in", "de-snics"),
        (["pe-cnic-read", "de-snic-in"], "pe-cnic-read", "cnics"),
        (["de-snic-out"], "de-snic-out", "snics-out"),
        (["storage-snic-out"], "storage-snic-out", "storage-snics"),
        (["de-pcie-to-hbm"], "de-pcie-to-hbm", "pcie"),  # as it is predicted
        (["de-pcie-out"], "de-pcie-out", "pcie"),  # as it is measured
        (["pe-nvlink-out"], "pe-nvlink-out", "nvlink"),
    ],
)
def test_classes_of_nics_are_a_resource(full: list[str], fullest: str, word: str) -> None:
    assert of_nics(full, fullest) == word


def test_snics_that_read_on_both_sides_are_all_of_them() -> None:
    assert of_readers({"pe"}) == "pe-snics"
    assert of_readers(["de", "pe"]) == "all-snics"
