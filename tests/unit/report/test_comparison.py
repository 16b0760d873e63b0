from __future__ import annotations

from pathlib import Path

from testbed.report.comparison import figures, lines
from testbed.results.compare import chosen, compare
from tests.unit.results.made import SCENARIO, make_run, make_set
from tests.unit.results.test_compare import FIFO, six
from tests.unit.results.test_compare import figures as loads


def test_the_table_has_intervals_ratios_and_says_what_is_chance(tmp_path: Path) -> None:
    found = compare(
        [make_set(tmp_path / "a", six()), make_set(tmp_path / "b", six(0.5), scenario=FIFO)]
    )
    text = "\n".join(lines(found, chosen(found, ())))
    assert "compared: arbitration: arbitration=fair fair, arbitration=fifo fifo" in text
    assert "arbitration=fair shorter-queue: 2× [2 – 2] the load of arbitration=fair pe-only" in text
    row = next(line for line in text.splitlines() if line.strip().startswith("load"))
    assert "2× [2 – 2] *" in row
    assert "0.5× [0.5 – 0.5] *" in row
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
    assert sum("FAIL" in line for line in text[1:]) == 1  # the head of the column, twice
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
