from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from testbed.kernel.samples import LaneSample, MeterSample

Series = list[list[MeterSample]]


def _meter(
    t_s: float, nic: str, direction: str, carried: int, extra: Mapping[str, int]
) -> MeterSample:
    node, _, device = nic.partition("/")
    kind = "mgmt" if device == "mgmt" else device.rstrip("0123456789")
    stray = extra.get("unclassified", 0)
    return MeterSample(
        t_s, nic, kind, node, "prefill", direction, 8_000_000, carried, carried // 1000,
        extra.get("drops", 0), 0, 0, 0, 0, extra.get("direct_packets", 0), stray,
        {"kv": LaneSample(carried, 1, 0), "unclassified": LaneSample(stray, 0, 0)},
    )  # fmt: skip


@pytest.fixture
def series() -> Callable[..., Series]:
    """Counters every 100 ms of 8 Mbit NICs: (nic, direction) -> bytes at each sample.

    `last` changes counters of the last sample: (nic, direction) -> {"drops": 3}.
    """

    def make(
        nics: Mapping[tuple[str, str], list[int]],
        last: Mapping[tuple[str, str], Mapping[str, int]] | None = None,
    ) -> Series:
        count = len(next(iter(nics.values())))
        return [
            [
                _meter(
                    50 + i / 10, nic, direction, sizes[i],
                    (last or {}).get((nic, direction), {}) if i == count - 1 else {},
                )
                for (nic, direction), sizes in nics.items()
            ]
            for i in range(count)
        ]  # fmt: skip

    return make
