"""The tables of a report."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.fidelity.checks import Check
from testbed.report.tables import (
    calibration,
    checks,
    figures,
    foreseen,
    needs,
    of_rows,
    tabled,
)
from testbed.report.words import Words, spaced
from tests.unit.report.synthetic import run, summary

WORDS = Words({"kv_load_bps": "KV load"}, {"storage": "storage NICs"})


def test_what_was_predicted_stands_beside_what_was_measured() -> None:
    content = run()
    summaries = {name: each["summary"] for name, each in content["policies"].items()}
    table = foreseen(content, summaries, WORDS)
    assert table.groups == (("", 1), ("pe-only", 3), ("shorter-queue", 3))
    turns = ["10/s", "9/s", "\u221210.0\u202f%"]
    assert table.rows[0] == ["turns", *turns, *turns]
    assert ["bound by", *["storage NICs", "storage NICs", ""] * 2] in table.rows
    assert ["speed-up", *["2.00×", "1.25×", "\u221237.5\u202f%"] * 2] in table.rows


def test_a_run_that_sets_them_side_by_side_itself_is_taken_at_its_word() -> None:
    pair = {"predicted": 2.0, "measured": 1.0, "error": -0.5}
    content = run() | {"comparison": {"predicted_measured": {"a": {"cores": pair}}}}
    (row,) = foreseen(content, {}, WORDS).rows
    assert row == ["cores", "2", "1", "\u221250.0\u202f%"]


def test_what_bound_it_is_said_to_be_as_predicted_or_not() -> None:
    pairs = {
        name: {
            "bound_by": {"predicted": "pe-snic-in", "measured": "storage", "error": None},
            "binds": {"predicted": "storage", "measured": seen, "error": None, "same": same},
        }
        for name, seen, same in (("a", "storage", True), ("b", "load", False), ("c", None, None))
    }
    (row,) = foreseen({"comparison": {"predicted_measured": pairs}}, {}, WORDS).rows
    assert row == [
        "binds", "storage NICs", "storage NICs", "as predicted",
        "storage NICs", "load", "not as predicted", "storage NICs", "–", "",
    ]  # fmt: skip


def test_many_policies_have_a_line_each_so_that_paper_is_wide_enough() -> None:
    pair = {"predicted": 2.0, "measured": 1.0, "error": -0.5}
    four = {name: {"cores": pair} for name in "abcd"}
    table = foreseen({"comparison": {"predicted_measured": four}}, {}, WORDS)
    assert table.header == ["", "", "predicted", "measured", "difference"]
    assert table.rows[0] == ["cores", "a", "2", "1", "\u221250.0\u202f%"]
    assert [row[:2] for row in table.rows[1:]] == [["", "b"], ["", "c"], ["", "d"]]
    assert table.groups == ()


def test_groups_of_columns_are_set_apart_from_the_second_on() -> None:
    table = foreseen(run(), {n: e["summary"] for n, e in run()["policies"].items()}, WORDS)
    assert table.begins == {4}, "the first begins behind the names"
    assert figures({"a": summary()}, WORDS).begins == set()


def test_figures_of_figures_are_told_by_words_where_there_are_any() -> None:
    words = Words({"slowdown": "slowdown"}, {"h2d": "prompts, to HBM"})
    assert words.dotted("slowdown.h2d.p99") == "slowdown: prompts, to HBM, p99"
    assert words.dotted("slowdown.h2d") == "slowdown: prompts, to HBM"
    assert words.dotted("ttft_s.p50") == "ttft p50"
    assert words.dotted("kv_load_bps") == "kv load"


def test_a_run_without_a_prediction_has_empty_tables() -> None:
    assert foreseen({}, {"a": {}}, WORDS).rows == []
    assert needs({}, WORDS).rows == []
    assert [row[0] for row in needs(run(), WORDS).rows] == ["agents"]


def test_a_figure_of_several_parts_is_a_row_for_each() -> None:
    rows = figures({"a": summary(), "b": {"kv_load_bps": None}}, WORDS).rows
    assert ["KV load", "80\u202fMbit/s", "–"] in rows
    assert ["KV load, full scale", "160\u202fGbit/s", "–"] in rows
    assert ["storage: capacity", "1\u202fMiB", "–"] in rows
    assert ["ttft", "500\u202fms (p99 –)", "–"] in rows
    assert not any("window" in row[0] for row in rows)


def test_lists_of_rows_are_tables_with_a_column_for_each_variant() -> None:
    summaries = {"a": summary(), "b": {"nic_loads": []}}
    assert tabled(summaries, {}) == ["nic_loads"]
    table = of_rows("nic_loads", summaries, {"nic_loads": ("Loads", "of NICs")}, WORDS)
    assert table is not None
    assert (table.title, table.about) == ("Loads", "of NICs")
    assert table.groups == (("", 1), ("a", 3))
    assert table.rows == [["pe-snic-in", "1\u202fMbit/s", "0\u202fbit/s", "–"]]
    assert of_rows("nic_loads", {"b": {}}, {}, WORDS) is None


def test_a_figure_has_its_interval_beside_it() -> None:
    one = {"kv_load_bps": 1e6, "interval_kv_load_bps": [9e5, 1.1e6]}
    rows = figures({"a": one, "b": {"kv_load_bps": 1e6, "interval_kv_load_bps": None}}, WORDS).rows
    around = "900\u202fKbit/s\u00a0\u2013\u00a01.1\u202fMbit/s"
    assert rows == [["KV load", f"1\u202fMbit/s [{around}]", "1\u202fMbit/s"]]


def _use(role: str, share: float) -> dict[str, Any]:
    return {
        "kind": "cnic", "role": role, "direction": "read", "nics": 4, "utilisation": share,
        "lanes": {"model": 0.01, "kv": share}, "backlog_s": 0.001,
    }  # fmt: skip


def test_rows_are_named_by_all_of_their_text_so_that_none_hides_another() -> None:
    summaries = {"a": {"nic_use": [_use("prefill", 0.25), _use("decode", 0.5)]}}
    table = of_rows("nic_use", summaries, {}, WORDS)
    assert table is not None
    assert table.header[1:] == ["nics", "utilisation", "lanes model", "lanes kv", "backlog"]
    rest = ["1.0\u202f%", "25.0\u202f%", "1\u202fms"]
    assert table.rows[0] == ["prefill CNIC read", "4", "25.0\u202f%", *rest]
    assert [row[0] for row in table.rows] == ["prefill CNIC read", "decode CNIC read"]


def test_where_columns_of_all_variants_are_too_many_each_has_a_line() -> None:
    summaries = {name: {"nic_use": [_use("prefill", 0.25)]} for name in ("a", "b", "c")}
    table = of_rows("nic_use", summaries, {}, WORDS)
    assert table is not None and table.groups == () and table.numeric == 2
    assert [row[:2] for row in table.rows] == [["prefill CNIC read", "a"], ["", "b"], ["", "c"]]


def test_a_mapping_of_rows_is_a_table_where_it_has_a_title() -> None:
    trips = {"cnic kv": {"p50": 0.01, "least": 1e-5}}
    summaries = {"a": {"round_trip_s": trips, "ttft_s": {"p50": 1.0}}}
    titled = {"round_trip_s": ("Round trips", "")}
    assert tabled(summaries, titled) == ["round_trip_s"]
    table = of_rows("round_trip_s", summaries, titled, WORDS)
    assert table is not None
    assert table.rows == [["cnic kv", "10\u202fms", "10\u202fµs"]]
    rest = figures(summaries, WORDS, tabled(summaries, titled)).rows
    assert [row[0] for row in rest] == ["ttft: p50"]


def test_calibrated_links_are_told_with_what_was_allowed() -> None:
    (row,) = calibration(run()).rows
    assert row == [
        "prefill SNIC in", "100\u202fMbit/s", "99.5\u202fMbit/s",
        "97\u202fMbit/s \u2013 103\u202fMbit/s", "100.0\u202f%", "20\u202fµs",
    ]  # fmt: skip
    assert calibration({"calibration": None}).rows == []


def test_checks_that_did_not_hold_come_first() -> None:
    def check(name: str, variant: str, ok: bool | None) -> Check:
        return Check(name, variant, ok, "3ms", "≤ 1ms", "" if ok else "why")

    found = [check("x", "a", True), check("x", "b", True), check("y", "a", None)]
    found += [check("z", "a", True), check("z", "b", False)]
    rows = checks(found, ["a", "b"])
    assert [(row.name, row.ok) for row in rows] == [("z", False), ("y", None), ("x", True)]
    assert rows[0].cells == [(True, "3\u202fms"), (False, "3\u202fms (why)")]
    assert rows[1].cells[1] is None


@pytest.mark.parametrize(
    ("said", "set_"),
    [
        ("44.22Mbit/s", "44.22 Mbit/s"),
        ("1.5us and 3%", "1.5 µs and 3 %"),
        ("p99 2ms, de0/cnic0", "p99 2 ms, de0/cnic0"),
        ("2p4d g=8B", "2p4d g=8 B"),
        ("-6.3e-05s", "−6.3e-05 s"),
        ("64K trace, 1P1D, de-only", "64K trace, 1P1D, de-only"),
    ],
)
def test_numbers_and_units_are_set_apart_and_names_are_left_alone(said: str, set_: str) -> None:
    assert spaced(said).replace("\u202f", " ") == set_


def test_words_know_figures_at_full_scale(_: Any = None) -> None:
    assert WORDS.figure("kv_load_bps_full_scale") == "KV load, full scale"
    assert WORDS.figure("hit_rate") == "hit rate"
    assert WORDS.value("ratio", 1.0) == "1.000"
