"""Topologies by name, from files, and their parameters."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mininet.topo import Topo

from topologies import catalog

RING = """
from mininet.topo import Topo

class Ring(Topo):
    def build(self, k=3, label="r", wide: bool = False):
        for number in range(k):
            self.addHost(f"{label}{number}")
        if wide:
            self.addHost("wide")

topos = {"ring": Ring, "pair": (lambda: Ring(k=2))}
"""


@pytest.fixture
def ring(tmp_path: Path) -> str:
    path = tmp_path / "mine.py"
    path.write_text(RING)
    return str(path)


@pytest.mark.parametrize(
    ("name", "hosts", "switches"),
    [
        ("single", 2, 1),
        ("linear", 2, 2),
        ("tree", 4, 3),
        ("1p1d", 2 * 9 + 1 + 2, 2 * 8 + 3),
        ("2p1d", 3 * 9 + 1 + 2, 3 * 8 + 3),
        ("1p2d", 3 * 9 + 1 + 2, 3 * 8 + 3),
        ("2p4d", 6 * 9 + 1 + 2, 6 * 8 + 3),
    ],
)
def test_what_comes_along_builds(name: str, hosts: int, switches: int) -> None:
    topo = catalog.build(name, {})
    assert (len(topo.hosts()), len(topo.switches())) == (hosts, switches)


@pytest.mark.parametrize("name", ["single", "linear", "tree", "2p4d"])
def test_mininet_can_number_the_datapaths(name: str) -> None:
    """Its switches take a datapath id, or make one of the first digits in their name."""
    topo = catalog.build(name, {})
    ids = []
    for switch in topo.switches():
        given = topo.nodeInfo(switch).get("dpid")
        digits = re.findall(r"\d+", switch)
        ids.append(int(given, 16) if given else int(digits[0]))
    assert len(set(ids)) == len(ids)


def test_values_are_read_by_the_type_of_their_parameter() -> None:
    topo = catalog.build("dualpath", {"gpus": "2", "s": "0.5", "storage_mbit": "70"})
    rates = {
        frozenset(link[:2]): link[2].get("bw") for link in topo.links(withInfo=True, sort=True)
    }
    assert rates[frozenset({"pe0", "storage"})] == 50.0
    assert rates[frozenset({"st0", "storage"})] == 70.0
    assert "pe0g1" in topo.hosts() and "pe0g2" not in topo.hosts()


def test_an_optional_value_can_be_left_open() -> None:
    topo = catalog.build("dualpath", {"gpus": "1", "storage_mbit": "none"})
    assert topo.linkInfo("st0", "storage")["bw"] == 200.0


def test_a_setting_replaces_a_value_of_a_preset() -> None:
    assert "pe0g1" not in catalog.build("2p4d", {"gpus": "1"}).hosts()


def test_every_description_builds_with_its_defaults() -> None:
    described = catalog.describe()
    assert [one.name for one in described] == catalog.names()
    for one in described:
        assert not any(parameter.required for parameter in one.parameters.values())
        texts = {key: str(parameter.default) for key, parameter in one.parameters.items()}
        assert catalog.build(one.name, texts).hosts() == catalog.build(one.name, {}).hosts()


def test_a_file_is_loaded_as_mininet_loads_it(ring: str) -> None:
    topo = catalog.build(f"{ring}:ring", {"k": "2", "label": "x", "wide": "yes"})
    assert topo.hosts() == ["wide", "x0", "x1"]
    assert len(catalog.build(f"{ring}:pair", {}).hosts()) == 2


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import nothing_of_that_name", "ModuleNotFoundError.*line 1"),
        ("x = 1\ny = (", "SyntaxError"),
        ("x = 1", "exports no topology"),
        ("topos = {}", "exports no topology"),
        ("topos = {'a': 5}", "neither a class nor a function"),
        ("topos = {'a': lambda: 5}", "made a int"),
        ("topos = {'a': lambda:\\\n 1 / 0}", "ZeroDivisionError.*line 2"),
        ("def make(k): ...\ntopos = {'a': make}", "needs a value for k"),
        ("topos = {'a': dict, 'b': dict}", "exports a, b: say which"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_with_its_reason(
    source: str, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(source)
    with pytest.raises(ValueError, match=says):
        catalog.build(str(path), {})


def test_unknown_names_come_with_those_that_are_known(ring: str) -> None:
    with pytest.raises(catalog.UnknownTopologyError) as unknown:
        catalog.build("dual", {})
    assert unknown.value.known == catalog.names()
    with pytest.raises(catalog.UnknownSettingError) as setting:
        catalog.build("single", {"hosts": "2"})
    assert setting.value.known == ["k", "bw"]
    with pytest.raises(catalog.NoTopologyFileError):
        catalog.build("there_is_none.py", {})
    with pytest.raises(catalog.TopologyFileError, match="only ring, pair"):
        catalog.build(f"{ring}:square", {})


@pytest.mark.parametrize(
    ("name", "settings", "error"),
    [
        ("single", {"k": "2.5"}, catalog.SettingTypeError),
        ("single", {"bw": "fast"}, catalog.SettingTypeError),
        ("single", {"k": "0"}, catalog.BadSettingError),
        ("tree", {"depth": "0"}, catalog.BadSettingError),
        ("dualpath", {"s": "9"}, catalog.BadSettingError),
    ],
)
def test_a_senseless_value_is_refused(
    name: str, settings: dict[str, str], error: type[ValueError]
) -> None:
    with pytest.raises(error):
        catalog.build(name, settings)


def test_a_topology_with_a_constructor_of_its_own_has_its_parameters(tmp_path: Path) -> None:
    path = tmp_path / "old.py"
    path.write_text(
        "from mininet.topo import Topo\n"
        "class Old(Topo):\n"
        "    def __init__(self, n=1, **opts):\n"
        "        Topo.__init__(self, **opts)\n"
        "        for i in range(n): self.addHost(f'h{i}')\n"
        "topos = {'old': Old}\n"
    )
    topo = catalog.build(str(path), {"n": "3"})
    assert isinstance(topo, Topo)
    assert len(topo.hosts()) == 3
