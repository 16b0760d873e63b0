from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agents.blocks.hashing import stream_hashes
from agents.client.idle import IDLE_AGENT, IDLE_REQUEST, idle_submission
from agents.idle_overhead import Rates, ideal_s

LINE = Rates(snic=80e6, into_hbm=80e6, cnic=80e6, shared=True)  # 10 MB/s
MB = 1e6
BYTES = st.floats(1e3, 1e9)


def test_the_prefill_side_reads_loads_returns_and_hands_over() -> None:
    """10 MB by lines of 10 MB/s: 1 s each; load and return share the prefill CNIC."""
    assert ideal_s("pe", 10 * MB, 0, LINE, 0.0, 20) == 4.0


def test_the_decode_side_returns_next_to_nothing() -> None:
    assert ideal_s("de", 10 * MB, 0, LINE, 0.0, 20) == 3.0


def test_past_the_cnic_load_and_return_are_side_by_side() -> None:
    direct = LINE._replace(into_hbm=160e6, shared=False)
    assert ideal_s("pe", 10 * MB, 0, direct, 0.0, 20) == 1.0 + 1.0 + 0.5


@given(st.sampled_from(["pe", "de"]), BYTES, BYTES, st.floats(0, 10), st.integers(1, 61))
def test_compute_is_beside_the_layers_and_never_hidden_entirely(
    path: str, hit: float, miss: float, compute_s: float, groups: int
) -> None:
    moving_s = ideal_s(path, hit, miss, LINE, 0.0, groups)
    whole_s = ideal_s(path, hit, miss, LINE, compute_s, groups)
    assert moving_s <= whole_s <= moving_s + compute_s + 1e-9
    assert whole_s >= compute_s
    fewer_s = ideal_s(path, hit, miss, LINE, compute_s, 1)
    assert whole_s <= fewer_s + 1e-9  # one group: nothing is side by side


def test_the_idle_request_hits_a_prefix_of_middling_length_and_is_nobodys() -> None:
    prefixes = [stream_hashes(n, count) for n, count in enumerate((3, 40, 9))]
    submission = idle_submission(prefixes, 64, 5.0)
    assert (submission.request, submission.agent) == (IDLE_REQUEST, IDLE_AGENT)
    assert submission.turn.prompt_tokens == 10 * 64
    assert np.array_equal(submission.turn.hashes[:9], prefixes[2])
    assert 0 <= IDLE_REQUEST < 1 << 24
