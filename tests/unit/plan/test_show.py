"""A plan as text."""

from __future__ import annotations

from testbed.plan.show import plan_lines
from testbed.plan.source import load


def test_a_plan_shows_nodes_links_shapers_and_counts() -> None:
    # h1 ── s1 ── h2
    plan = load("single", {"bw": "40Mbit"}).compile()
    lines = plan_lines(plan)
    text = "\n".join(lines)
    assert lines[0].startswith("topology single")
    assert "h1    host  h1-eth0 10.0.0.1" in text
    assert "40Mbit" in text
    assert lines[-1].split() == ["total", str(len(plan.elements))]
    counted = lines[lines.index("kernel objects") + 1 : -1]
    assert sum(int(line.split()[1]) for line in counted) == len(plan.elements)


def test_a_big_cluster_stays_readable() -> None:
    lines = plan_lines(load("2p4d", {}).compile())
    assert len(lines) < 70
    assert any("pe0g0 pe0g1" in line for line in lines)
    assert all("\t" not in line for line in lines)
