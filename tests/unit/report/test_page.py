"""The page of a synthetic run: self-contained, verdict first, figures present."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest

from testbed.errors import NotFoundError, UsageError
from testbed.report.page import write_report
from testbed.results import layout
from testbed.results.writer import write_json
from tests.unit.report import accessible, synthetic

_VOID = {"meta", "path", "circle", "rect", "line", "use", "br", "link"}


class _Balanced(HTMLParser):
    """Every element that is opened is closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [str(value) for name, value in attrs if name == "id"]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.open.pop() == tag


def _page(path: Path) -> str:
    page = write_report(path).read_text()
    checker = _Balanced()
    checker.feed(page)
    assert checker.open == []
    assert len([i for i in checker.ids if i.startswith("figure-")]) == len(
        {i for i in checker.ids if i.startswith("figure-")}
    )
    return page


@pytest.fixture
def run_directory(tmp_path: Path) -> Path:
    return synthetic.write(tmp_path, believed=False)


@pytest.fixture(scope="module")
def doubtful(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run whose verdict is FAIL, and its page."""
    path = synthetic.write(tmp_path_factory.mktemp("run"), believed=False)
    return path, _page(path)


def test_the_page_says_what_matters_in_order(doubtful: tuple[Path, str]) -> None:
    _, page = doubtful
    headings = ["FAIL", "a &lt;b&gt;bold&lt;/b&gt; question", "<h2>The answer", "<h2>Predicted"]
    headings += ["<h2>The cluster", "<h2>Over time", "<h2>Where requests", "<h3>Chosen requests"]
    headings += ["<h2>NIC loads", "<h2>All figures", "<h2>Checks", "<h2>Terms"]
    headings += ["<h2>What this emulation cannot show", "<h2>To do it again"]
    body = page[page.index("<body") :]
    places = [body.index(heading) for heading in headings]
    assert places == sorted(places)
    assert "network-only engines" in page.lower()
    assert "1\u202fGiB were verified" in page
    assert "160\u202fGbit/s at full scale" in page
    assert "1.25× pe-only (predicted 2.00×)" in page
    assert "decode HBM 4.566/s" in page
    assert "full &lt;b&gt;" in page
    assert "a read &lt;failed&gt;" in page
    assert "fault (de0): stop" in page and "de0: not a &lt;word&gt;" in page
    assert "99.5\u202fMbit/s" in page and "idle round trip" in page
    assert "SNIC, KV lane" in page
    assert "testbed run synthetic --set &#39;policies=[pe-only, x]&#39;" in page


def test_the_page_can_be_read_without_seeing_it(doubtful: tuple[Path, str]) -> None:
    accessible.check(doubtful[1], drawings=11)


def test_nothing_comes_from_outside_and_nothing_can(doubtful: tuple[Path, str]) -> None:
    _, page = doubtful
    assert "default-src 'none'" in page
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", page)
    assert "<script>alert" not in page
    assert "<b>bold</b>" not in page


def test_every_figure_is_a_file_too(doubtful: tuple[Path, str]) -> None:
    path, _ = doubtful
    assert not any("var(" in file.read_text() for file in (path / layout.FIGURES).iterdir())
    files = {file.stem for file in (path / layout.FIGURES).iterdir()}
    assert files == {
        "nic_timelines", "nic_utilisation", "machine", "waits", "caps", "split",
        "cluster_pe-only", "cluster_shorter-queue", "requests_pe-only", "requests_shorter-queue",
    }  # fmt: skip


def test_the_same_run_gives_the_same_page(doubtful: tuple[Path, str]) -> None:
    path, page = doubtful
    assert _page(path) == page


def test_a_run_of_one_policy_whose_name_is_no_file_name_has_a_page(tmp_path: Path) -> None:
    page = _page(synthetic.write(tmp_path, ["../<a>"]))
    assert "All 4 checks held" in page
    assert "must not be believed" not in page
    assert "1.25×" not in page.split("Predicted and measured")[0]  # over itself
    assert "&lt;a&gt;" in page
    assert (tmp_path / layout.FIGURES / "cluster_..__a_.svg").is_file()


def test_a_run_without_agents_has_a_page(tmp_path: Path) -> None:
    page = _page(synthetic.write_plain(tmp_path))
    assert "goodput" in page and "97\u202fMbit/s" in page
    for absent in ("The answer", "Predicted and measured", "Time to first token", "KV"):
        assert absent not in page.split("<script")[0]
    assert 'id="figure-timelines"' in page and 'id="figure-cluster"' in page


def test_a_run_without_a_window_has_a_page(run_directory: Path) -> None:
    """Warnings are errors: a figure without anything in it must not ask for a legend."""
    file = run_directory / layout.RUN
    run = json.loads(file.read_text()) | {"interrupted": True}
    for policy in run["policies"].values():
        policy["window_s"] = None
        policy["summary"] |= {"window_s": None, "kv_load_bps": None}
    write_json(file, run)
    page = _page(run_directory)
    assert "over the whole run" in page
    assert "The answer" not in page


def test_a_run_of_which_hardly_anything_is_left_has_a_page(run_directory: Path) -> None:
    """Interrupted at once, or of an older layout: what is not there is not shown."""
    for name in ("requests", "machine", "events"):
        pl.DataFrame(schema={"policy": pl.String}).write_parquet(
            layout.table_path(run_directory, name)
        )
    layout.table_path(run_directory, "nics").unlink()
    keep = {"layout_version", "name", "policies"}
    content = json.loads((run_directory / layout.RUN).read_text())
    few = {name: value for name, value in content.items() if name in keep}
    few["policies"] = {"pe-only": {"summary": {}}}
    write_json(run_directory / layout.RUN, few)
    page = _page(run_directory)
    assert "FAIL" in page and "figure-timelines" not in page.split("</style>")[1]


def test_a_run_that_may_not_be_written_to_is_said(tmp_path: Path) -> None:
    synthetic.write_plain(tmp_path)
    (tmp_path / layout.REPORT).mkdir()
    with pytest.raises(UsageError, match="cannot be written"):
        write_report(tmp_path)


def test_a_directory_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        write_report(tmp_path)
