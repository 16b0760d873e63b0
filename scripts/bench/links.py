"""Rates and fairness of shaped links: what flows get of the line, and how evenly.

    python -m scripts.bench.links [--json]

For one and for four flows over every kind of link: bytes by the shaper's own counter, headers
included, over the window of the sink, as a share of the line (target 97 … 100 %).  For 2 to 16
senders into one port, one of them with eight flows and the others with one: Jain's index of
what each *sender* got (target 0.98), drops and retransmitted segments.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from scripts.bench.support.loads import Port, Sender, loaded
from testbed.lab import Lab
from testbed.units import show_rate
from topologies.dualpath import DualPathTopo
from topologies.single import SingleTopo

SECONDS, SETTLE_S = 4.0, 1.0
RETRANSMITTED_SHARE = 0.001


def share_of_line(
    lab: Lab, nic: str, direction: str, senders: Sequence[Sender], target: Port
) -> dict[str, Any]:
    """How much of a NIC's line its shaper let through while flows filled it."""
    samples = []
    with loaded(lab, senders, target, settle_s=SETTLE_S + SECONDS, seconds=1.0):
        for wait_s in (SETTLE_S, SECONDS):
            time.sleep(wait_s)  # the window itself
            (found,) = (m for m in lab.counters() if (m.nic, m.direction) == (nic, direction))
            samples.append(found)
    first, last = samples
    rate = (last.bytes - first.bytes) * 8 / (last.t_s - first.t_s)
    share = rate / last.rate_bps
    return {
        "link": f"{nic} {direction}",
        "line_bps": last.rate_bps,
        "flows": sum(sender.flows for sender in senders),
        "share": share,
        "drops": last.drops,
        "ok": 0.97 <= share <= 1.0005 and last.drops == 0,
    }


def jain(values: Sequence[float]) -> float:
    """Jain's index: 1 when all are equal, 1/n when one has everything."""
    return sum(values) ** 2 / (len(values) * sum(value * value for value in values))


def fairness(senders: int, mbit: float = 200.0) -> dict[str, Any]:
    """Incast: `senders` hosts into one port, the first with eight flows."""
    with Lab(SingleTopo(k=senders + 1, bw=mbit)) as lab:
        sources = [
            Sender(Port(f"h{n}", f"h{n}-eth0"), 8 if n == 2 else 1) for n in range(2, senders + 2)
        ]
        target = Port("h1", "h1-eth0")
        with loaded(lab, sources, target, settle_s=SETTLE_S, seconds=SECONDS) as sink:
            assert sink.stdout is not None
            seen = json.loads(sink.stdout.read())
        got: dict[str, float] = {}
        for flow in seen["flows"]:
            got[flow["peer"]] = got.get(flow["peer"], 0.0) + flow["rate_bps"]
        tcp = lab.tcp_counters()
        sent = sum(each["OutSegs"] for each in tcp.values())
        again = sum(each["RetransSegs"] for each in tcp.values())
        drops = sum(meter.drops for meter in lab.counters())
    index = jain(list(got.values()))
    return {
        "senders": senders,
        "jain": index,
        "sum_bps": seen["rate_bps"],
        "drops": drops,
        "retransmitted_share": again / sent,
        "ok": index >= 0.98 and drops == 0 and again / sent <= RETRANSMITTED_SHARE,
    }


# Every kind of shaped link: (NIC, direction, from, to).
CLUSTER_LINKS = (
    ("pe0/snic0", "in", Port("st0", "snic0"), Port("pe0", "snic0")),
    ("de0/snic0", "out", Port("de0", "snic0"), Port("st0", "snic0")),
    ("pe0/cnic0", "read", Port("pe0", "cnic0"), Port("pe0g0", "cnic0")),
    ("de0/cnic1", "write", Port("pe0g0", "cnic0"), Port("de0", "cnic1")),
    ("pe0/mgmt", "out", Port("pe0", "mgmt"), Port("de0", "mgmt")),
)
PLAIN_LINKS = (
    ("h1/h1-eth0", "out", Port("h1", "h1-eth0"), Port("h2", "h2-eth0")),
    ("h2/h2-eth0", "in", Port("h1", "h1-eth0"), Port("h2", "h2-eth0")),
)


def shares(mbit: float) -> list[dict[str, Any]]:
    """One and four flows over every kind of link, at one rate."""
    cluster = DualPathTopo(gpus=2, cnic_mbit=mbit, mgmt_mbit=mbit)
    rows = []
    for topology, links in ((cluster, CLUSTER_LINKS), (SingleTopo(k=2, bw=mbit), PLAIN_LINKS)):
        with Lab(topology) as lab:
            for flows in (1, 4):
                rows += [
                    share_of_line(lab, nic, direction, [Sender(here, flows)], there)
                    for nic, direction, here, there in links
                ]
    return rows


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true")
    told = parser.parse_args()
    rows = [row for mbit in (100.0, 500.0) for row in shares(mbit)]
    fair = [fairness(senders) for senders in (2, 4, 8, 16)]
    if told.json:
        print(json.dumps({"links": rows, "fairness": fair}, indent=2))
    else:
        for row in rows:
            print(
                f"{row['link']:<16} {show_rate(row['line_bps']):>8}/s {row['flows']} flows: "
                f"{row['share']:.2%} of the line, {row['drops']} drops"
            )
        for row in fair:
            print(
                f"{row['senders']:>2} senders: Jain {row['jain']:.4f}, sum "
                f"{row['sum_bps'] / 1e6:.1f} Mbit/s, {row['drops']} drops, "
                f"{row['retransmitted_share']:.3%} retransmitted"
            )
    sys.exit(0 if all(row["ok"] for row in [*rows, *fair]) else 1)


if __name__ == "__main__":
    main()
