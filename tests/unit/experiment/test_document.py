"""YAML as plain data that knows its lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.errors import NotFoundError, ScenarioError
from testbed.experiment.document import Source, parse, read_source, with_overrides

TEXT = """\
name: demo
topology:
  name: 1p1d
  set: {gpus: 4, "s": 0.5}
policies:
  - pe-only
  - shorter-queue
on: yes
"""


def test_values_are_plain_and_words_stay_words() -> None:
    content = parse(Source("demo.yaml", TEXT)).content
    assert content == {
        "name": "demo",
        "topology": {"name": "1p1d", "set": {"gpus": 4, "s": 0.5}},
        "policies": ["pe-only", "shorter-queue"],
        "on": "yes",
    }
    topology = content["topology"]
    assert type(topology) is dict
    assert {type(value) for value in topology["set"].values()} == {int, float}


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (("name",), "demo.yaml:1"),
        (("topology",), "demo.yaml:2"),
        (("topology", "set", "gpus"), "demo.yaml:4"),
        (("policies", 1), "demo.yaml:7"),
        (("topology", "missing"), "demo.yaml:2"),
        (("missing",), "demo.yaml"),
    ],
)
def test_each_value_knows_its_line(path: tuple[str | int, ...], place: str) -> None:
    assert parse(Source("demo.yaml", TEXT)).place(path) == place


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "demo.yaml is empty"),
        ("- a\n- b\n", "does not hold"),
        ("name: a\nbad: [1, 2\n", "demo.yaml:3: "),
        ("name: a\nname: b\n", "demo.yaml:2: the key 'name' is there twice"),
        ("name: a\n1: b\n", "demo.yaml:2: the key 1 is not a word"),
        ("name: a\nwhen: 2025-01-31\n", "demo.yaml:2: 2025-01-31 is neither"),
        ("name: !python/object:os.system x\n", "demo.yaml:1: x is neither"),
        ("name: a\nloop: &x [1, *x]\n", "demo.yaml:2: the value contains itself"),
        ("a: 1\n---\nb: 2\n", "demo.yaml:"),
    ],
)
def test_what_is_not_plain_data_is_refused_at_its_line(text: str, message: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        parse(Source("demo.yaml", text))
    assert message in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("012", 12),
        ("0o17", 15),
        ("0x1F", 31),
        ("-3", -3),
        ("1e3", 1000.0),
        ("-.5", -0.5),
        (".inf", float("inf")),
        ("true", True),
        ("no", "no"),
        ("~", None),
        ("", None),
        ("'12'", "12"),
        ("100Mbit", "100Mbit"),
    ],
)
def test_scalars_are_read_by_the_rules_of_yaml_1_2(text: str, value: object) -> None:
    found = parse(Source("demo.yaml", f"key: {text}\n")).content["key"]
    assert found == value
    assert type(found) is type(value)


def test_an_alias_may_stand_for_a_value_twice() -> None:
    document = parse(Source("demo.yaml", "a: &x {gpus: 4}\nb: *x\n"))
    assert document.content == {"a": {"gpus": 4}, "b": {"gpus": 4}}


def test_overrides_replace_values_by_the_rules_of_the_file() -> None:
    document = parse(Source("demo.yaml", TEXT))
    changed = with_overrides(
        document, {"topology.set.gpus": "8", "name": "mine", "network.leaves": "4"}
    )
    assert changed.content["name"] == "mine"
    assert changed.content["topology"] == {"name": "1p1d", "set": {"gpus": 8, "s": 0.5}}
    assert changed.content["network"] == {"leaves": 4}
    assert changed.place(("topology", "set", "gpus")) == "--set topology.set.gpus"
    assert changed.place(("topology", "set", "s")) == "demo.yaml:4"
    assert document.content["name"] == "demo"
    assert document.content["topology"] == {"name": "1p1d", "set": {"gpus": 4, "s": 0.5}}


def test_an_override_below_a_value_is_refused() -> None:
    with pytest.raises(ScenarioError, match="name is a value, not a section"):
        with_overrides(parse(Source("demo.yaml", TEXT)), {"name.first": "x"})


def test_a_file_that_is_not_there_or_not_text_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"mine\.yaml"):
        read_source(tmp_path / "mine.yaml")
    with pytest.raises(ScenarioError, match="cannot be read"):
        read_source(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ScenarioError, match="not UTF-8"):
        read_source(tmp_path / "binary.yaml")
