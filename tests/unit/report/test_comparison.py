from __future__ import annotations

import re
from pathlib import Path

from testbed.report.comparison import lines
from testbed.report.overlaid import figures
from testbed.results.compare import chosen, compare
from tests.unit.results.made import SCENARIO, make_run, make_set
from tests.unit.results.test_compare import FIFO, six
from tests.unit.results.test_compare import figures as loads


def test_the_table_has_intervals_ratios_and_says_what_is_chance(tmp_path: Path) -> None:
    found = compare(
        [make_set(tmp_path / "a", six()), make_set(tmp_path / "b", six(0.5), scenario=FIFO)]
    )
    text = "\n".join(lines(found, chosen(found, ())))
    assert "compared: arbitration\n" in text
    assert (
        "arbitration=fair shorter-queue: 2.00× [2.00 – 2.00] the load of arbitration=fair pe-only"
        in text
    )
    rows = text.splitlines()
    (first,) = (number for number, row in enumerate(rows) if row.strip().startswith("load"))
    assert "arbitration=fair pe-only  6 runs" in rows[first]
    assert "2.00× [2.00 – 2.00] *" in rows[first + 1]
    assert "0.500× [0.500 – 0.500] *   arbitration=fair shorter-queue" in rows[first + 3]
    assert "95% confidence" in text and "too few" not in text
    assert "FAIL" not in text


def test_what_must_not_be_believed_is_marked_loudly(tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path / "a", loads(1.0), ok=False),
        make_run(tmp_path / "b", loads(2.0), seed=2, scenario={**SCENARIO, "arbitration": "fifo"}),
    ]
    found = compare(runs, accept_unfaithful=True)
    text = lines(found, chosen(found, ()))
    assert text[0].startswith("FAIL  arbitration=fair: 1 runs must not be believed: a")
    marked = [line for line in text[1:] if "FAIL" in line]
    assert marked and all("arbitration=fair" in line for line in marked)
    assert "? too few runs to tell from chance: 6 pairs can, or 4 runs against 4" in text
    drawn = figures(found, ["load_bps"])
    assert all(each.get_suptitle() == "verdict FAIL: arbitration=fair" for each in drawn.values())


def test_the_distribution_of_waits_is_of_the_window_and_of_every_run(tmp_path: Path) -> None:
    found = compare([make_set(tmp_path / "set", six())])
    (axes,) = figures(found, ["load_bps"])["first_token"].axes
    bold = [line for line in axes.lines if line.get_label() == "pe-only"]
    assert len(axes.lines) == 2 * (6 + 1)
    assert len(bold[0].get_xdata()) == 12
    assert max(bold[0].get_ydata()) == 100


def test_policies_of_one_set_are_columns_and_what_is_0_everywhere_is_one_line(
    tmp_path: Path,
) -> None:
    policies = {"a": {"x": 2.0, "lost": 0}, "b": {"x": 3.0, "lost": 0}}
    found = compare([make_set(tmp_path / "set", {1: policies, 2: policies})])
    text = lines(found, chosen(found, ()))
    assert any(
        re.match(r" x +2 \[2 – 2\] +3 \[3 – 3\] +1\.50× \[1\.50 – 1\.50\] \?", row) for row in text
    )
    assert "in every run: lost 0" in text
    once = {"a": {"x": 2.0, "lost": 1}, "b": {"x": 3.0, "lost": 0}}
    found = compare([make_set(tmp_path / "other", {1: policies, 2: policies, 3: once})])
    assert not any("in every run" in row for row in lines(found, chosen(found, ())))


def test_a_headline_of_few_runs_says_that_they_cannot_tell(tmp_path: Path) -> None:
    for number, said in ((2, ", of too few runs to tell from chance"), (6, " of pe-only")):
        few = {seed: each for seed, each in six().items() if seed <= number}
        found = compare([make_set(tmp_path / f"set{number}", few)])
        (answer,) = (row for row in lines(found, []) if row.startswith("shorter-queue: 2.00×"))
        assert answer.endswith(said)
