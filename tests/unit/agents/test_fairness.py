from __future__ import annotations

from agents.fairness import agents_served, jain
from tests.unit.agents.test_read_queues import request


def test_jains_index() -> None:
    assert jain([3.0, 3.0, 3.0]) == 1.0
    assert jain([1.0, 0.0, 0.0, 0.0]) == 0.25
    assert jain([0.0, 0.0]) is None
    assert jain([]) is None


def test_an_agent_that_only_waits_counts_and_one_that_is_away_does_not() -> None:
    seen = [
        request(agent=1, prompt_tokens=100, t_submit=0.0, t_done=10.0),
        request(agent=2, prompt_tokens=100, t_submit=0.0, t_done=10.0, error="lost"),
        request(agent=3, prompt_tokens=100, t_submit=20.0, t_done=30.0),
    ]
    assert agents_served(seen, (5.0, 10.0)) == {1: 50.0, 2: 0.0}
