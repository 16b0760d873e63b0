"""docs/run-directory.md and docs/compare.md say what there is."""

from __future__ import annotations

import re
from pathlib import Path

from agents.workload import _TABLES
from testbed.experiment import grid
from testbed.fidelity.monitor import MachineSample
from testbed.report import swept
from testbed.results import layout, nics
from testbed.results.compare import compare
from testbed.results.load import load
from testbed.results.points import load_sweep
from tests.unit.results.made import make_run
from tests.unit.results.test_points import figures, make_sweep

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
STORED = ROOT / "tests" / "data" / f"run-layout-{layout.LAYOUT_VERSION}"


def words(text: str) -> set[str]:
    return set(re.findall(r"`([\w.]+)`", text))


def rows(page: str, heading: str) -> dict[str, str]:
    """Name in the first cell -> the row, of the table behind a heading."""
    _, _, behind = (DOCS / page).read_text().partition(heading)
    table = behind[behind.index("\n|") :].partition("\n\n")[0]
    cells = [(row.split(" | ")[0], row) for row in table.splitlines() if row.startswith("| `")]
    return {name: row for first, row in cells for name in re.findall(r"`(\w+)`", first)}


def test_every_table_and_column_of_a_run_is_described() -> None:
    described = rows("run-directory.md", "Of any workload") | rows(
        "run-directory.md", "Of DualPath's agents"
    )
    run = load(STORED)
    assert set(run.tables) <= set(described)
    for name in run.tables:
        columns = set(run.table(name).columns) - {"policy"}
        assert columns <= words(described[name]), name
    written = {name: set(record.__struct_fields__) for name, record in _TABLES.items()}
    written |= {"machine": set(MachineSample.__struct_fields__), "nics": set(nics.SCHEMA)}
    assert set(written) == set(described)
    for name, columns in written.items():
        assert columns - {"policy"} <= words(described[name]), name


def test_every_key_of_run_json_is_described() -> None:
    described = rows("run-directory.md", "## run.json")
    run = load(STORED)
    assert set(run.run) <= set(described)
    (policy, *_) = run.policies.values()
    assert set(policy) <= words(described["policies"])


def test_the_version_in_the_page_is_the_version() -> None:
    assert f"It is {layout.LAYOUT_VERSION}." in (DOCS / "run-directory.md").read_text()


def test_every_key_of_compare_and_sweep_is_described(tmp_path: Path) -> None:
    described = rows("compare.md", "### The object of `--json`")
    told = compare([make_run(tmp_path / "run", {"pe-only": {"load_bps": 1.0}})]).as_json()
    assert set(told) | {"figures", "report"} == set(described)
    assert set(told["metrics"]["load_bps"]["pe-only"]) <= words(described["metrics"])
    assert set(next(iter(told["sides"].values()))) <= words(described["sides"])
    made = load_sweep(make_sweep(tmp_path / "sweep", {"a": ({"x": 1}, {1: figures(1.0)})}))
    sweep = swept.Written(made, None, [])
    assert set(sweep.as_json({})) == set(rows("compare.md", "multiples: a row of panels"))


def test_the_sweep_file_in_the_page_can_be_run(tmp_path: Path) -> None:
    text = (DOCS / "compare.md").read_text().partition("```yaml\n")[2].partition("```")[0]
    (tmp_path / "sweep.yaml").write_text(text)
    asked, points = grid.load(tmp_path / "sweep.yaml")
    assert (asked.name, len(points), asked.repeats) == ("agents", 6, 3)
