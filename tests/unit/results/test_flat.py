from __future__ import annotations

from testbed.results.flat import flat, numbers

SUMMARY = {
    "requests": 3, "steady": True, "bound_by": "storage", "ttft_s": {"p50": 0.5, "p99": None},
    "by": {"path": {"pe": 1.0}}, "nic_loads": [{"nic": "x"}], "cache": None,
}  # fmt: skip


def test_figures_have_dotted_names_and_lists_are_left_out() -> None:
    assert flat(SUMMARY) == {
        "requests": 3, "steady": True, "bound_by": "storage", "ttft_s.p50": 0.5,
        "ttft_s.p99": None, "by.path.pe": 1.0, "cache": None,
    }  # fmt: skip


def test_numbers_are_what_can_be_compared() -> None:
    assert numbers(SUMMARY) == {"requests": 3.0, "ttft_s.p50": 0.5, "by.path.pe": 1.0}
