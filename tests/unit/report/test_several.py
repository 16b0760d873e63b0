"""The page of a set, and of a comparison: verdict first, figures present, nothing from outside."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from testbed.errors import NotFoundError, UsageError
from testbed.report.overlaid import in_parts
from testbed.report.page import write_report
from testbed.report.several import write_comparison, write_set
from testbed.results import layout
from testbed.results.compare import chosen, compare
from tests.unit.report import accessible
from tests.unit.results.made import SCENARIO, make_run, make_set
from tests.unit.results.test_compare import FIFO, six
from tests.unit.results.test_compare import figures as loads
from tests.unit.results.test_points import make_sweep


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make_set(tmp_path / "set", six())


def _body(page: Path) -> str:
    return page.read_text().partition("</style>")[2]


def test_the_page_of_a_set_answers_first_and_says_how_sure_it_is(path: Path) -> None:
    page = _body(write_report(path))
    headings = ["PASS", "<h2>The answer", "<h2>Time to first token", "<h2>All figures"]
    headings += ["<h2>Figure by figure", "<h2>The runs", "<h2>To do it again"]
    places = [page.index(heading) for heading in headings]
    assert places == sorted(places)
    assert "All checks of all 6 runs held" in page
    assert "2.00× [2.00 – 2.00] pe-only" in page and "more than chance" in page
    assert "95\u202f% confidence" in page
    assert page.count("<svg") == 2 and page.count('role="img" aria-label=') == 2


def test_the_page_can_be_read_without_seeing_it(path: Path) -> None:
    accessible.check(write_set(path).read_text(), drawings=2)


def test_nothing_comes_from_outside_and_nothing_can(path: Path) -> None:
    page = write_set(path).read_text()
    assert "default-src 'none'" in page
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", page)
    assert "<script" not in page


def test_each_run_is_named_with_its_own_report_if_it_has_one(path: Path) -> None:
    with_report = layout.all_runs(path)[0]
    (with_report / layout.REPORT).touch()
    page = _body(write_set(path))
    assert re.findall('<a href="([^#"]*)"', page) == [f"{with_report.name}/{layout.REPORT}"]
    assert all(run.name in page for run in layout.all_runs(path))


def test_a_run_that_must_not_be_believed_makes_all_of_it_doubtful(tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path / "a", loads(1.0), ok=False),
        make_run(tmp_path / "b", loads(2.0), seed=2, scenario={**SCENARIO, "arbitration": "fifo"}),
    ]
    found = compare(runs, accept_unfaithful=True)
    page = _body(write_comparison(found, chosen(found, ()), tmp_path / "runs", ["testbed"]))
    assert '<header class="FAIL">' in page
    assert "1 of 2 runs has the verdict FAIL" in page
    assert "arbitration: fair against fifo" in page
    assert "too few runs to tell from chance" in page


def test_a_comparison_is_written_as_json_and_as_svg_and_pdf(path: Path, tmp_path: Path) -> None:
    other = make_set(tmp_path / "b", six(0.5), scenario=FIFO)
    found = compare([path, other])
    argv = ["testbed", "compare", "set", "<b>"]
    page = write_comparison(found, chosen(found, ()), tmp_path / "runs", argv)
    told = json.loads((page.parent / "comparison.json").read_text())
    assert told["command"] == argv
    assert told["metrics"]["load_bps"]["arbitration=fair pe-only"]["count"] == 6
    written = sorted(file.name for file in (page.parent / "figures").iterdir())
    assert written == ["first_token.pdf", "first_token.svg", "metrics.pdf", "metrics.svg"]
    drawn = (page.parent / "figures" / "metrics.svg").read_text()
    assert "load (Mbit/s)" in drawn and "shorter-queue" in drawn
    assert re.search(rb"^%PDF-", (page.parent / "figures" / "metrics.pdf").read_bytes())
    assert "testbed compare set &#39;&lt;b&gt;&#39;" in page.read_text()


def test_the_page_of_a_sweep_has_a_row_for_each_point_and_policy(tmp_path: Path) -> None:
    points = {
        str(agents): ({"agents": agents}, {seed: loads(agents) for seed in (1, 2)})
        for agents in (8, 16)
    }
    page = _body(write_report(make_sweep(tmp_path / "sweep", points)))
    assert "All checks of all 4 runs held" in page and "2 of 2 points, 4 runs" in page
    assert "The answer" not in page and page.count("<svg") == 1
    for agents in (8, 16):
        assert page.count(f'<tr><th scope="row">{agents}</th><td>pe-only</td>') == 1
        assert page.count(f"agents={agents}") == 2  # a run of each repeat


def test_a_sweep_of_which_nothing_is_complete_has_no_page(tmp_path: Path) -> None:
    path = make_sweep(tmp_path / "sweep", {"8": ({"agents": 8}, {1: loads(8)})})
    for run in path.rglob(layout.RUN):
        run.unlink()
    with pytest.raises(NotFoundError, match="no run of the sweep"):
        write_report(path)


def test_a_set_without_a_complete_run_has_no_page(path: Path) -> None:
    for run in layout.all_runs(path):
        (run / layout.RUN).unlink()
    with pytest.raises(NotFoundError, match="no run of the set"):
        write_report(path)


def test_a_set_that_may_not_be_written_to_is_said(path: Path) -> None:
    (path / layout.REPORT).mkdir()
    with pytest.raises(UsageError, match="cannot be written"):
        write_set(path)


def test_of_more_than_two_each_has_a_line_of_its_own(tmp_path: Path) -> None:
    fair = make_set(tmp_path / "fair", six())
    fifo = make_set(tmp_path / "fifo", six(0.5), scenario=FIFO)
    found = compare([fair, fifo])
    page = _body(write_comparison(found, chosen(found, ()), tmp_path / "runs", ["testbed"]))
    assert "arbitration=fair (fair): 6 of 6 runs" in page
    table = page.partition("<h2>All figures")[2].partition("</table>")[0]
    rows = re.findall(r"<tr>(<th scope=\"row\">.*?)</tr>", table)
    cells = [re.sub(r"</t[hd]>", "|", re.sub(r"<t[hd][^>]*>", "", row)).split("|") for row in rows]
    first = next(number for number, row in enumerate(cells) if row[0] == "load")
    assert [row[1] for row in cells[first : first + 4]] == [
        f"arbitration={queue} {policy}"
        for queue in ("fair", "fifo")
        for policy in ("pe-only", "shorter-queue")
    ]
    assert cells[first][3:5] == ["", ""]
    assert cells[first + 3][3].startswith("0.500×")
    assert cells[first + 3][4] == "over arbitration=fair shorter-queue"


def test_many_figures_are_drawn_in_parts_that_fit_a_page(tmp_path: Path) -> None:
    many = {seed: {p: {f"load{n}_bps": x * seed * (n + 1.0) for n in range(60)}
                   for p, x in (("a", 1.0), ("b", 2.0))} for seed in (1, 2)}  # fmt: skip
    found = compare([make_set(tmp_path / "set", many)])
    parts = in_parts(found, chosen(found, ()))
    assert len(parts) == 3
    titles = [axes.get_title(loc="left") for part in parts for axes in part.axes]
    assert [title for title in titles if title] == [f"load{n} (Mbit/s)" for n in range(60)]
    for part in parts:
        width, height = part.get_size_inches()
        assert height / width < 1.3, "of paper, less its margins"
