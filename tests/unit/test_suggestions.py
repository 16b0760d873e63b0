from __future__ import annotations

from testbed.suggestions import suggestion


def test_close_names_are_suggested() -> None:
    assert suggestion("pe00", ["pe0", "pe1", "sched"]) == "did you mean pe0?"


def test_without_a_close_one_all_are_listed() -> None:
    assert suggestion("xyz", ["h1", "h2"]) == "there are h1, h2"


def test_a_long_list_is_cut() -> None:
    text = suggestion("xyz", [f"n{i}" for i in range(100)])
    assert text.endswith("n11, …")
