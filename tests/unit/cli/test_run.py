from __future__ import annotations

import pytest

from testbed.cli.run import about


@pytest.mark.parametrize(
    ("time_s", "said"),
    [(8.4, "8 s"), (59.4, "59 s"), (61, "1 min"), (3540, "59 min"), (12_000, "3 h 20 min")],
)
def test_time_left_is_said_as_exactly_as_anybody_needs_it(time_s: float, said: str) -> None:
    assert about(time_s) == said
