from __future__ import annotations

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agents.read_queues import empty_s, uncovered_s
from agents.records import RequestRecord

SPANS = st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)).map(sorted), max_size=8)


def request(**fields: object) -> RequestRecord:
    empty = dict.fromkeys(RequestRecord.__struct_fields__, 0) | {
        "session": "s", "path": "pe", "prefill": "pe0g1", "decode": "de1g0", "error": "",
        "stalls_s": [], "type": "request",
    }  # fmt: skip
    return msgspec.convert(empty | fields, RequestRecord)


@given(SPANS)
def test_what_is_covered_and_what_is_not_make_up_the_window(spans: list[list[float]]) -> None:
    step = 1e-3
    moments = 2.0 + step * (np.arange(5000) + 0.5)
    covered = np.zeros(len(moments), bool)
    for first, last in spans:
        covered |= (moments >= first) & (moments < last)
    free = int((~covered).sum())
    found = uncovered_s(((a, b) for a, b in spans), 2.0, 7.0)
    assert abs(found - free * step) <= step * (2 * len(spans) + 1)


def test_a_queue_with_a_read_in_it_at_every_moment_is_never_empty() -> None:
    reads = [request(t_scheduled=n * 0.9, t_read_end=n * 0.9 + 1.0) for n in range(-1, 12)]
    assert empty_s(reads, ["pe0", "de1"], (0.0, 10.0)) == {"pe0": 0.0, "de1": 10.0}
    # The other way round, and both ways at once.
    other = [msgspec.structs.replace(r, path="de") for r in reads]
    assert empty_s(other, ["pe0", "de1"], (0.0, 10.0)) == {"pe0": 10.0, "de1": 0.0}
    both = [msgspec.structs.replace(r, path="split") for r in reads]
    assert empty_s(both, ["pe0", "de1"], (0.0, 10.0)) == {"pe0": 0.0, "de1": 0.0}


def test_a_gap_of_a_moment_is_a_gap() -> None:
    reads = [request(t_scheduled=0.0, t_read_end=4.0), request(t_scheduled=4.25, t_read_end=12.0)]
    assert empty_s(reads, ["pe0"], (0.0, 10.0)) == {"pe0": 0.25}
