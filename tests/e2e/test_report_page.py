"""A report as a reader opens it: in a browser, light and dark, and printed.

Skipped where there is no Chromium: nothing else needs one.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image

from testbed.report.page import write_report
from testbed.report.svg import COLOURS
from tests.unit.report import synthetic
from tests.unit.results.made import make_set
from tests.unit.results.test_compare import six

_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
_DARK, _LIGHT = 0, 1  # Chromium's own numbers of preferences
# Chromium's own traffic is not the page's.
_QUIET = (
    "--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars",
    "--virtual-time-budget=20000", "--enable-logging=stderr",
)  # fmt: skip
_TIMELINES_ONLY = "sky"  # nothing but the timelines is drawn in it


pytestmark = pytest.mark.xdist_group("page")  # its fixtures are dear


class Opened(NamedTuple):
    """What a browser made of a page: its elements by their ids, and what its console said."""

    elements: dict[str, dict[str, str]]
    console: list[str]


class _ById(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, dict[str, str]] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = {name: value or "" for name, value in attrs}
        if "id" in known:
            self.found[known["id"]] = known


@pytest.fixture(scope="module")
def browser() -> str:
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip("there is no Chromium")
    return found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(synthetic.write(tmp_path_factory.mktemp("run"), believed=False))


@pytest.fixture(scope="module")
def page_of_a_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(make_set(tmp_path_factory.mktemp("sets") / "set", six()))


def _chromium(browser: str, page: Path, tmp_path: Path, *options: str) -> tuple[str, list[str]]:
    """Standard output, and the lines of the page's console."""
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [browser, *_QUIET, *sandbox, f"--user-data-dir={tmp_path / 'profile'}", *options,
         page.as_uri()],
        capture_output=True, text=True, timeout=100, check=True,
    )  # fmt: skip
    return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


def _opened(browser: str, page: Path, tmp_path: Path) -> Opened:
    dom, console = _chromium(browser, page, tmp_path, "--dump-dom")
    parser = _ById()
    parser.feed(dom)
    return Opened(parser.found, console)


def _colours(browser: str, page: Path, tmp_path: Path, preference: int) -> set[tuple[int, ...]]:
    """Every colour that is to be seen on the page."""
    file = tmp_path / "page.png"
    options = [f"--screenshot={file}", "--window-size=1200,7000"]
    options.append(f"--blink-settings=preferredColorScheme={preference}")
    _, console = _chromium(browser, page, tmp_path, *options)
    assert console == []
    with Image.open(file) as image:
        counted = image.convert("RGB").getcolors(1 << 24)
    assert counted is not None
    return {colour for _, colour in counted if isinstance(colour, tuple)}


def _rgb(name: str, *, dark: bool) -> tuple[int, int, int]:
    code = COLOURS[name][dark]
    return int(code[1:3], 16), int(code[3:5], 16), int(code[5:7], 16)


def test_a_page_opens_without_a_word_and_all_figures_are_there(
    browser: str, page: Path, tmp_path: Path
) -> None:
    opened = _opened(browser, page, tmp_path)
    assert opened.console == []
    figures = {name for name in opened.elements if name.startswith("figure-")}
    assert figures == {
        "figure-caps", "figure-cluster", "figure-utilisation", "figure-timelines",
        "figure-split", "figure-waits", "figure-requests",
    }  # fmt: skip
    timelines = opened.elements["figure-timelines"]
    # Of each policy: use, queues, waits, the machine, lateness.
    assert timelines["data-panels"] == str(5 * len(synthetic.POLICIES))
    assert "drawn" in timelines["class"].split()


def test_a_page_without_agents_opens_too(browser: str, tmp_path: Path) -> None:
    plain = write_report(synthetic.write_plain(tmp_path / "run"))
    opened = _opened(browser, plain, tmp_path)
    assert opened.console == []
    assert opened.elements["figure-timelines"]["data-panels"] == "2"


def test_the_page_of_a_set_opens(browser: str, page_of_a_set: Path, tmp_path: Path) -> None:
    opened = _opened(browser, page_of_a_set, tmp_path)
    assert opened.console == []
    assert {"answer", "figure-metrics", "figure-first_token", "runs"} <= set(opened.elements)


@pytest.mark.parametrize("preference", [_LIGHT, _DARK], ids=["light", "dark"])
def test_the_page_of_a_set_follows_the_theme(
    browser: str, page_of_a_set: Path, tmp_path: Path, preference: int
) -> None:
    seen = _colours(browser, page_of_a_set, tmp_path, preference)
    for name in ("paper", "fg", "blue", "amber"):
        assert _rgb(name, dark=preference == _DARK) in seen


@pytest.mark.parametrize("preference", [_LIGHT, _DARK], ids=["light", "dark"])
def test_pages_and_timelines_follow_the_theme(
    browser: str, page: Path, tmp_path: Path, preference: int
) -> None:
    seen = _colours(browser, page, tmp_path, preference)
    dark = preference == _DARK
    for name in ("paper", "fg", "full", _TIMELINES_ONLY):
        assert _rgb(name, dark=dark) in seen, name
        assert _rgb(name, dark=not dark) not in seen, name


def _strokes(pdf: bytes) -> set[tuple[int, ...]]:
    """The colours of all lines in a PDF.  What is in a bitmap is not among them."""
    found: set[tuple[int, ...]] = set()
    for start in re.finditer(rb"(?<!end)stream\r?\n", pdf):
        try:
            content = zlib.decompressobj().decompress(pdf[start.end() :])
        except zlib.error:
            continue  # not compressed like this: no drawing
        for parts in re.findall(rb"([\d.]+) ([\d.]+) ([\d.]+) RG", content):
            found.add(tuple(round(255 * float(part)) for part in parts))
    return found


def test_paper_has_the_static_timelines_in_light_colours(
    browser: str, page: Path, tmp_path: Path
) -> None:
    """Also where the screen is dark.  They are lines: what can be zoomed would be a bitmap."""
    file = tmp_path / "page.pdf"
    dark = f"--blink-settings=preferredColorScheme={_DARK}"
    _, console = _chromium(browser, page, tmp_path, f"--print-to-pdf={file}", dark)
    assert console == []
    strokes = _strokes(file.read_bytes())
    assert _rgb(_TIMELINES_ONLY, dark=False) in strokes
    assert _rgb(_TIMELINES_ONLY, dark=True) not in strokes


def test_a_page_that_would_fetch_something_is_noticed(
    browser: str, page: Path, tmp_path: Path
) -> None:
    """The proof of the others' silence: the page's own policy lets nothing out, and says so."""
    changed = tmp_path / "changed.html"
    text = page.read_text().replace("<h2>", '<img src="http://127.0.0.1:9/x.png"><h2>', 1)
    changed.write_text(text)
    opened = _opened(browser, changed, tmp_path)
    assert any("Content Security Policy" in line for line in opened.console)


def test_where_the_library_fails_the_static_figures_stay(
    browser: str, page: Path, tmp_path: Path
) -> None:
    changed = tmp_path / "changed.html"
    changed.write_text(page.read_text().replace('id="library">', 'id="library">AAAA'))
    opened = _opened(browser, changed, tmp_path)
    assert opened.console
    assert opened.elements["figure-timelines"]["class"].split() == ["zoomable"]
