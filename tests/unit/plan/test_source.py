"""Topologies by name, as the command line and scenarios ask for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.errors import NotFoundError, TestbedError, TopologyError, UsageError
from testbed.plan.source import build_topology, load


@pytest.mark.parametrize("text", ["500", "500Mbit", "0.5Gbit"])
def test_a_rate_is_in_mbit_or_has_a_unit(text: str) -> None:
    topo = build_topology("single", {"bw": text})
    assert topo.linkInfo("h1", "s1")["bw"] == 500.0


def test_a_plan_tells_what_it_was_made_from() -> None:
    plan = load("single", {"k": "3", "bw": "1Gbit"}).compile()
    assert (plan.topology, plan.parameters) == ("single", {"k": 3, "bw": 1000.0})
    assert list(plan.domains) == ["h1", "h2", "h3"]
    assert load("1p1d", {}).parameters["gpus"] == 8


@pytest.mark.parametrize(
    ("name", "settings", "error", "hint"),
    [
        ("2p4dd", {}, NotFoundError, "did you mean 2p4d"),
        ("zzz", {}, NotFoundError, "1p1d, 2p1d"),
        ("none.py", {}, NotFoundError, "topos"),
        ("dualpath", {"gpu": "4"}, UsageError, "did you mean gpus"),
        ("single", {"k": "two"}, UsageError, "testbed topologies"),
        ("single", {"bw": "100furlongs"}, UsageError, "Mbit"),
        ("single", {"k": "0"}, TopologyError, "testbed topologies"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(
    name: str, settings: dict[str, str], error: type[TestbedError], hint: str
) -> None:
    with pytest.raises(error) as raised:
        build_topology(name, settings)
    assert type(raised.value) is error
    assert hint in raised.value.hint


def test_a_file_that_fails_is_a_topology_error(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("topos = {}")
    with pytest.raises(TopologyError, match="exports no topology"):
        build_topology(str(path), {})


LOUD = """
from mininet.topo import Topo

print("loading")


class Loud(Topo):
    def build(self):
        print("building")
        self.addLink(self.addHost("h1"), self.addSwitch("s1"))


def leaving():
    raise SystemExit("bye")


topos = {"loud": Loud, "leaving": leaving}
"""


def test_what_a_file_prints_is_not_the_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(LOUD)
    build_topology(f"{path}:loud", {})
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "loading\nbuilding\n")


def test_a_file_that_would_leave_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(LOUD)
    with pytest.raises(TopologyError, match="SystemExit: bye"):
        build_topology(f"{path}:leaving", {})
