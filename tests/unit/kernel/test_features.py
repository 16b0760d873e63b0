from __future__ import annotations

import pytest

from testbed.errors import TestbedError, UnsupportedError
from testbed.kernel import features as module
from testbed.kernel.features import features
from testbed.kernel.probes import Probe


def probe(name: str, error: Exception | None = None, *, required: bool = True) -> Probe:
    def run() -> None:
        if error is not None:
            raise error

    return Probe(name, f"what {name} is for", run, f"how to get {name}", required=required)


def trying(monkeypatch: pytest.MonkeyPatch, own: list[Probe], inner: list[Probe]) -> None:
    monkeypatch.setattr(module, "own_probes", lambda: own)
    monkeypatch.setattr(module, "inner_probes", lambda: inner)


def test_what_fails_comes_with_its_reason_and_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = UnsupportedError("the kernel refused", hint="try another")
    trying(monkeypatch, [probe("a")], [probe("b", refused), probe("c", OSError(1, "no right"))])
    found = {feature.name: feature for feature in features()}
    assert (found["a"].present, found["a"].detail, found["a"].remedy) == (True, "", "")
    assert (found["b"].present, found["b"].detail) == (False, "the kernel refused")
    assert (found["c"].detail, found["c"].remedy) == ("no right", "how to get c")


def test_what_stands_on_a_missing_base_counts_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    trying(monkeypatch, [probe("base", TestbedError("no"))], [probe("b"), probe("c")])
    found = features()
    assert [feature.name for feature in found] == ["base", "b", "c"]
    assert not any(feature.present for feature in found)
    assert found[1].detail == "not tried, for lack of: base"


def test_an_optional_feature_is_no_base(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = probe("extra", TestbedError("no"), required=False)
    trying(monkeypatch, [probe("base")], [missing, probe("b")])
    assert [feature.present for feature in features()] == [True, False, True]


def test_a_probe_that_dies_does_not_hide_the_rest(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    trying(monkeypatch, [probe("base")], [probe("b", ValueError("defect")), probe("c")])
    found = {feature.name: feature for feature in features()}
    assert found["base"].present
    assert not found["b"].present
    assert found["b"].detail.startswith("not tried")
    assert "ValueError: defect" in capfd.readouterr().err
