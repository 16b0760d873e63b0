"""What the report draws itself: well-formed, complete, and readable without colours."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from testbed.plan.compile import compile_plan
from testbed.plan.source import build_topology
from testbed.report import bars, cluster, svg
from testbed.report.requests import Chosen, Part, Split
from testbed.report.series import Use
from tests.unit.report.synthetic import PLAIN, SERVING


def _uses(meters: tuple[tuple[str, str, str, str, str, float], ...]) -> list[Use]:
    return [Use(*named, 10**8, share) for *named, share in meters]


def _texts(drawn: str) -> list[str]:
    return ["".join(text.itertext()) for text in ET.fromstring(drawn).iter(f"{_NS}text")]


_NS = "{http://www.w3.org/2000/svg}"


def test_every_nic_says_how_much_it_was_used_in_words_too() -> None:
    # pe0 -- storage -- de0
    drawn = cluster.draw(_uses(SERVING), "pe-only")
    titles = [title.text or "" for title in ET.fromstring(drawn).iter(f"{_NS}title")]
    for nic, *_, direction, share in SERVING:
        assert any(title.startswith(f"{nic} {direction}: {100 * share:.1f}") for title in titles), (
            nic
        )
    label = ET.fromstring(drawn).get("aria-label")
    assert label == "The cluster under pe-only; full NICs: pe0/snic0 in, st0/snic0 out"
    assert "in 99\u202f% · out 0\u202f%" in _texts(drawn)


@pytest.mark.parametrize(
    ("name", "parameters", "rows"),
    [("1p1d", {}, 1), ("2p4d", {"gpus": 8}, 1), ("dualpath", {"decode": 12, "gpus": 8}, 3)],
)
def test_any_cluster_fits_the_page_in_as_many_rows_as_it_needs(
    name: str, parameters: dict[str, int], rows: int
) -> None:
    plan = compile_plan(build_topology(name, parameters))
    uses = [
        Use(m.nic, m.kind, m.node, m.role, m.direction, m.rate_bps, 0.5)
        for m in plan.meters
        if m.kind != "mgmt"
    ]
    root = ET.fromstring(cluster.draw(uses, "x"))
    _, _, width, height = map(float, str(root.get("viewBox")).split())
    assert width <= cluster.WIDTH + 30
    assert height == pytest.approx(88 + 200 * rows, abs=12)
    gauges = [r for r in root.iter(f"{_NS}rect") if r.find(f"{_NS}title") is not None]
    named = sum(":" in str(r.findtext(f"{_NS}title")) for r in gauges)
    assert named == len(uses)
    for rect in root.iter(f"{_NS}rect"):
        assert 0 <= float(str(rect.get("x"))) <= width
        assert 0 <= float(str(rect.get("y"))) <= height


def test_plain_hosts_hang_under_their_switches() -> None:
    # h1 -- s1 -- h2
    drawn = cluster.draw(_uses(PLAIN), "x", [("h1", "s1"), ("h2", "s1")])
    assert _texts(drawn)[0] == "s1"
    assert "h1  host" in _texts(drawn)
    without = cluster.draw(_uses(PLAIN), "x")  # of an old run: links are not known
    assert "s1" not in _texts(without)
    assert "h1  host" in _texts(without)


def test_the_lowest_cap_comes_first_and_what_is_no_limit_says_so() -> None:
    drawn = bars.caps(
        {"snics": 20.0, "cnics": 10.0, "hbm": None, "far": 1000.0},
        {"a": 12.0, "b": 5.0},
        {"a": 9.0, "b": None},
        {"a": "cnics"},
    )
    texts = _texts(drawn)
    assert texts[:4] == ["cnics", "10/s, the lowest", "snics", "20/s"]
    assert "1000/s (bar cut)" in texts
    assert "no limit here" in texts
    assert "9/s, bound by cnics" in texts
    assert "not measured" in texts
    assert bars.caps({"hbm": None}, {}, {}, {}) == ""


def test_bars_are_as_long_as_what_they_show() -> None:
    parts = [Part("wait", True, 0.1), Part("work", False, 0.3), Part("nothing", False, 0.0)]
    drawn = bars.split({"a": [Split("all", 3, parts)], "b": [Split("all", 1, parts[:1])]})
    widths = [float(str(r.get("width"))) for r in ET.fromstring(drawn).iter(f"{_NS}rect")]
    assert len(widths) == 3
    assert widths[1] == pytest.approx(3 * widths[0], abs=0.2)
    assert widths[2] == pytest.approx(widths[0], abs=0.2)


def test_a_request_that_failed_is_told_and_has_no_answer() -> None:
    well = Chosen("median", {}, [Part("a", True, 0.1), Part("b", False, 0.1)])
    failed = Chosen("failed", {}, [Part("a", True, 0.0), Part("b", False, 0.0)])
    labels = {0: ("median", "request 1"), 1: ("failed", "no <such> block")}
    drawn = bars.waterfall([well, failed], labels, 1, 3.0)
    assert "no <such> block" in _texts(drawn)
    answers = [
        line for line in ET.fromstring(drawn).iter(f"{_NS}line") if "--fg" in str(line.get("style"))
    ]
    assert len(answers) == 1
    assert bars.waterfall([failed], labels, 1, 0.0) == ""


@pytest.mark.parametrize(("most", "step"), [(0.9, 0.2), (7.3, 2.0), (1000.0, 200.0), (0.0, 1.0)])
def test_axes_step_by_round_numbers(most: float, step: float) -> None:
    assert bars.nice_step(most) == pytest.approx(step)


def test_colours_are_variables_with_a_value_of_their_own() -> None:
    drawn = svg.rect(0, 0, 1, 1, fill=svg.colour("blue"), stroke=svg.colour("red"))
    assert drawn.count("style=") == 1
    assert "fill:var(--blue,#0072b2);stroke:var(--red,#bb4a00)" in drawn
    assert "&lt;b&gt;" in svg.text(0, 0, "<b>")
