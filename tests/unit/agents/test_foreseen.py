"""What a machine cannot carry is refused, with what would be too much and a scale that is not."""

from __future__ import annotations

import pytest

from agents.capacity import MachineLimits
from agents.costing.costs import REFERENCE
from agents.costing.kept import Known
from agents.forecast import forecast
from agents.foreseen import refuse
from testbed.errors import CapacityError
from testbed.experiment.scale import Scale
from tests.unit.agents.test_scaling import at, shipped, site

KNOWN = Known(REFERENCE, None, None, "tried")
SCENARIO = shipped("demo", **{"scale.rate": "250", "scale.bytes": "125"})


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        (MachineLimits(2, 0.7, 64e9), "cores busy; 70% of the 2 of this machine is 1.4"),
        (MachineLimits(0.5, 0.7, 64e9), "70% of the 0.5 of this machine is 0.3"),
        (MachineLimits(64, 0.7, 64e9), "of a core busy; it can have one, and may take 0.70"),
        (MachineLimits(64, 1.0, 1e9), "of memory; of what is available it may take 762.9MiB"),
    ],
)
def test_what_is_too_much_is_named_and_the_scale_in_the_hint_is_carried(
    limits: MachineLimits, told: str
) -> None:
    found = forecast(SCENARIO, site(SCENARIO))
    with pytest.raises(CapacityError) as refused:
        refuse(SCENARIO, found, KNOWN, limits)
    assert told in refused.value.message
    words = refused.value.hint.split(";")[0].replace(",", " ").split()
    scale = dict(word.split("=") for word in words if "=" in word)
    carried = at(SCENARIO, Scale(float(scale["scale.rate"]), float(scale["scale.bytes"])))
    refuse(carried, forecast(carried, site(carried)), KNOWN, limits)


def test_where_no_scale_is_small_enough_what_to_do_is_something_else() -> None:
    limits = MachineLimits(2, 0.001, 64e9)
    with pytest.raises(CapacityError) as refused:
        refuse(SCENARIO, forecast(SCENARIO, site(SCENARIO)), KNOWN, limits)
    assert "0.1% of the 2 of this machine is 0.002" in refused.value.message
    assert refused.value.hint.startswith("no scale is small enough: choose a smaller topology")
