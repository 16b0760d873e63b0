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

from testbed.lab import Lab, Process
from testbed.units import show_rate
from topologies.dualpath import DualPathTopo
from topologies.single import SingleTopo

SECONDS, SETTLE_S = 4.0, 1.0
RETRANSMITTED_SHARE = 0.001


def _flows(lab: Lab, domain: str, *arguments: str) -> Process:
    return lab[domain].popen([sys.executable, "-m", "testbed.flows", *arguments])


def measure(lab: Lab, sources: Sequence[tuple[str, str, int]], target: tuple[str, str]) -> Any:
    """Load one port.

    Args:
        sources: (domain, device, flows) of each sender.
        target: (domain, device) of the receiver.

    Returns:
        The sink's JSON.
    """
    address = lab[target[0]].addresses[target[1]]
    count = sum(flows for _, _, flows in sources)
    sink = _flows(
        lab, target[0], "sink", "--bind", address, "--connections", str(count),
        "--settle", str(SETTLE_S), "--seconds", str(SECONDS),
    )  # fmt: skip
    assert sink.stderr is not None and sink.stdout is not None
    sink.stderr.readline()
    senders = [
        _flows(
            lab, domain, "source", "--to", address, "--bind", lab[domain].addresses[device],
            "--streams", str(flows), "--seconds", str(SETTLE_S + SECONDS + 2),
        )
        for domain, device, flows in sources
    ]  # fmt: skip
    seen = json.loads(sink.stdout.read())
    sink.wait()
    for process in [*senders, sink]:
        process.close()
    return seen


def share_of_line(
    lab: Lab,
    nic: str,
    direction: str,
    sources: Sequence[tuple[str, str, int]],
    target: tuple[str, str],
) -> dict[str, Any]:
    """How much of a NIC's line its shaper let through while flows filled it."""
    samples = []
    address = lab[target[0]].addresses[target[1]]
    count = sum(flows for _, _, flows in sources)
    sink = _flows(
        lab, target[0], "sink", "--bind", address, "--connections", str(count),
        "--settle", str(SETTLE_S + SECONDS), "--seconds", "0.1",
    )  # fmt: skip
    assert sink.stderr is not None and sink.stdout is not None
    sink.stderr.readline()
    senders = [
        _flows(
            lab, domain, "source", "--to", address, "--bind", lab[domain].addresses[device],
            "--streams", str(flows), "--seconds", str(SETTLE_S + SECONDS + 1),
        )
        for domain, device, flows in sources
    ]  # fmt: skip
    for wait_s in (SETTLE_S, SECONDS):
        time.sleep(wait_s)  # the window itself
        (found,) = (m for m in lab.counters() if (m.nic, m.direction) == (nic, direction))
        samples.append(found)
    sink.stdout.read()
    for process in [*senders, sink]:
        process.close()
    first, last = samples
    rate = (last.bytes - first.bytes) * 8 / (last.t_s - first.t_s)
    share = rate / last.rate_bps
    return {
        "link": f"{nic} {direction}",
        "line_bps": last.rate_bps,
        "flows": count,
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
        sources = [(f"h{n}", f"h{n}-eth0", 8 if n == 2 else 1) for n in range(2, senders + 2)]
        seen = measure(lab, sources, ("h1", "h1-eth0"))
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


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true")
    told = parser.parse_args()
    rows = []
    for mbit in (100.0, 500.0):
        with Lab(DualPathTopo(gpus=2, cnic_mbit=mbit)) as lab:
            for flows in (1, 4):
                rows += [
                    share_of_line(
                        lab, "pe0/snic0", "in", [("st0", "snic0", flows)], ("pe0", "snic0")
                    ),
                    share_of_line(
                        lab, "de0/snic0", "out", [("de0", "snic0", flows)], ("st0", "snic0")
                    ),
                    share_of_line(
                        lab, "pe0/cnic0", "read", [("pe0", "cnic0", flows)], ("pe0g0", "cnic0")
                    ),
                    share_of_line(
                        lab, "de0/cnic1", "write", [("pe0g0", "cnic0", flows)], ("de0", "cnic1")
                    ),
                ]
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
