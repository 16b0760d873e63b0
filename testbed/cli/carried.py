"""What the NICs of a testbed have carried since it came up, by direction and lane."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from testbed.columns import columns
from testbed.kernel.samples import LinkSample, MeterSample
from testbed.plan.model import Plan
from testbed.units import show_size


def carried(
    plan: Plan, meters: Sequence[MeterSample], links: Mapping[str, Mapping[str, LinkSample]]
) -> list[dict[str, Any]]:
    """One object for each direction of each NIC, as `testbed inspect --json` has them.

    Bytes are with headers: shaped NICs count them for every segment, unshaped links once for an
    aggregate of several segments.

    Args:
        plan: what runs.
        meters: counters of the shaped NICs.
        links: namespace -> device -> counters of all devices.
    """
    shaped = [
        {
            "nic": meter.nic,
            "kind": meter.kind,
            "direction": meter.direction,
            "rate_bps": meter.rate_bps,
            "bytes": meter.bytes,
            "packets": meter.packets,
            "drops": meter.drops,
            "queued_bytes": meter.backlog_bytes,
            "lanes": {
                name: {"bytes": lane.bytes, "packets": lane.packets}
                for name, lane in meter.lanes.items()
            },
        }
        for meter in meters
    ]
    return [*shaped, *_unshaped(plan, {meter.nic for meter in meters}, links)]


def _unshaped(
    plan: Plan, shaped: set[str], links: Mapping[str, Mapping[str, LinkSample]]
) -> Iterable[dict[str, Any]]:
    """Devices of nodes that no shaper carries; those of a CNIC are the CNIC's."""
    for domain in plan.domains.values():
        for device, seen in links.get(domain.name, {}).items():
            if f"{domain.node}/{device}" in shaped:
                continue
            for direction, size, packets, drops in (
                ("out", seen.tx_bytes, seen.tx_packets, seen.tx_drops),
                ("in", seen.rx_bytes, seen.rx_packets, seen.rx_drops),
            ):
                yield {
                    "nic": f"{domain.name}/{device}",
                    "kind": "unshaped",
                    "direction": direction,
                    "rate_bps": None,
                    "bytes": size,
                    "packets": packets,
                    "drops": drops,
                    "queued_bytes": None,
                    "lanes": {},
                }


def carried_lines(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """The same for people: a row for every NIC that has carried or lost anything."""
    busy = [each for each in found if each["packets"] or each["drops"] or each["queued_bytes"]]
    lanes = list(dict.fromkeys(lane for each in busy for lane in each["lanes"]))
    rows = [
        (
            each["nic"],
            each["direction"],
            show_size(each["bytes"]),
            *(
                show_size(each["lanes"][lane]["bytes"]) if lane in each["lanes"] else "–"
                for lane in lanes
            ),
            "–" if each["queued_bytes"] is None else show_size(each["queued_bytes"]),
            str(each["drops"]),
        )
        for each in busy
    ]
    header = ("NIC", "direction", "all", *(f"{lane} lane" for lane in lanes), "queued", "drops")
    idle = len(found) - len(busy)
    quiet = [f"nothing on the other {idle} directions"] if busy and idle else []
    return [*columns(rows, header), *quiet] if busy else ["nothing yet"]
