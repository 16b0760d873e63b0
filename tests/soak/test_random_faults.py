"""Nodes that stop or die at random moments, and schedulers with them: every token is right.

pe0 pe1 ══ compute fabric ══ de0 de1 (1 engine each); st0, st1 ══ storage fabric ══ all of them
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.e2e.test_faults import GENERATED, MODELLED, TOKENS, run
from tests.e2e.test_read_paths import failed_checks

_RUNS = 25


def drawn(seed: int) -> list[str]:
    """Up to one loss of each kind of node, a moment of silence, and perhaps a new scheduler."""
    rng = random.Random(seed)
    faults = []
    for role in rng.sample(["pe", "de", "st"], rng.randint(1, 3)):
        kind = rng.choice(["kill", "stop"])
        faults.append(f"at: {rng.uniform(0.5, 4.5):.3f}s, kind: {kind}, node: {role}1")
    if rng.random() < 0.5:
        faults.append(f"at: {rng.uniform(0.5, 4.5):.3f}s, kind: stop, node: de0, lasts: 300ms")
    if rng.random() < 0.5:
        at_s, away_s = rng.uniform(0.5, 4.0), rng.uniform(0.0, 0.9)
        faults.append(f"at: {at_s:.3f}s, kind: restart-scheduler, lasts: {away_s:.3f}s")
    return faults


@pytest.mark.parametrize("sections", [GENERATED, MODELLED, TOKENS], ids=["short", "long", "tokens"])
@pytest.mark.parametrize("seed", range(_RUNS))
def test_whatever_happens_every_turn_ends_well(seed: int, sections: str, tmp_path: Path) -> None:
    faults = drawn(seed)
    seen = run(tmp_path, sections, *faults)
    assert failed_checks(seen.ran) == {}, faults
    assert not [r.error for r in seen.requests if r.error]
