"""A plan as batches for iproute2's tools: everything that they can make is asked for, once."""

from __future__ import annotations

from collections import Counter

import pytest

from scripts.bench.support.batches import batches
from testbed.plan.model import counts
from testbed.plan.source import load


@pytest.mark.parametrize("topology", ["single", "1p1d"])
def test_every_object_has_its_line(topology: str) -> None:
    plan = load(topology, {}).compile()
    made = list(batches(plan))
    lines = Counter(" ".join(line.split()[:2]) for batch in made for line in batch.lines)
    asked = counts(plan)
    assert lines["netns add"] == asked["namespace"]
    assert lines["link add"] == asked["bridge"] + asked["ifb"] + asked["veth"] / 2
    assert lines["class add"] == asked["class"]
    assert lines["filter add"] == asked["filter"] + asked["redirect"]
    assert lines["neighbour add"] == asked["neighbour"]
    assert lines["fdb add"] == asked["fdb"]
    for word in ("address", "route", "rule"):
        assert lines[f"{word} add"] == asked[word]


def test_devices_come_before_what_hangs_on_them() -> None:
    made = list(batches(load("1p1d", {}).compile()))
    tools = [batch.tool for batch in made]
    assert made[0].namespace == "" and tools[0] == "ip"
    assert made[1].namespace == "fabric" and tools[1] == "ip"
    assert tools.index("tc") > 1 and set(tools[tools.index("bridge") :]) == {"bridge"}
