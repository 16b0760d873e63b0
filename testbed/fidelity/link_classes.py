"""Which links a calibration loads: one representative of each class, and what fills it.

Links of one kind, role, rate and direction are one *class*.  Flows are chosen from the plan alone:
a port is filled by enough of its peers, a CNIC by its own loopback (DRAM to HBM crosses *read* and
then *write*), a PCIe link by its two ends.  Tests that share no NIC run in the same round.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from testbed.plan.model import Link, Meter, Plan

Nic = tuple[str, str]  # (nic, direction)

ROUND_BPS = 1_000_000_000  # of all flows of a round together: more would measure the machine
_EQUAL = 1.001  # rates that add up to another's are as good as equal
_NETWORKS = ("snic", "nvlink", "link", "mgmt")  # NICs that join a switch


class LinkClass(NamedTuple):
    """Links that are alike; `role` is empty where it makes no difference."""

    kind: str
    role: str
    rate_bps: int
    direction: str


class Flow(NamedTuple):
    """A TCP connection that is loaded: from one memory domain's address to another's."""

    source: str
    source_address: str
    target: str
    target_address: str


@dataclass(frozen=True)
class Filling:
    """Flows that fill links together.

    Args:
        flows: all of them at once.
        crossing: (nic, direction) -> positions in `flows` of those that cross it.
        filled: those of `crossing` that they fill.
        nics: every (nic, direction) that the flows cross.
        rate_bps: of all flows together.
    """

    flows: tuple[Flow, ...]
    crossing: Mapping[Nic, tuple[int, ...]]
    filled: frozenset[Nic]
    nics: frozenset[Nic]
    rate_bps: int


class Chosen(NamedTuple):
    """What a calibration does.

    Args:
        rounds: fillings that run at the same time.
        unfilled: (nic, direction) of classes that nothing attached can fill, and why.
    """

    rounds: list[list[Filling]]
    unfilled: dict[Nic, str]


class _Port(NamedTuple):
    """A domain's port on a switch."""

    domain: str
    address: str
    nic: str
    rates_bps: Mapping[str, int]  # by direction


def class_of(meter: Meter) -> LinkClass:
    """The class of one direction of a NIC."""
    role = "" if meter.kind in ("mgmt", "link") else meter.role
    return LinkClass(meter.kind, role, meter.rate_bps, meter.direction)


def choose(plan: Plan) -> Chosen:
    """Fillings for one representative of each class of link, in rounds."""
    classes: dict[LinkClass, list[Meter]] = {}
    for meter in plan.meters:
        classes.setdefault(class_of(meter), []).append(meter)
    by_nic: dict[Nic, LinkClass] = {
        (meter.nic, meter.direction): class_of(meter) for meter in plan.meters
    }
    fillings: list[Filling] = []
    done: set[LinkClass] = set()
    unfilled: dict[Nic, str] = {}
    networks = _networks(plan)
    # The fastest first: what fills it may fill all of its peers.
    for each in sorted(classes, key=lambda c: -c.rate_bps):
        if each in done:
            continue
        first = classes[each][0]
        found = _filling(plan, classes[each], networks, by_nic, done)
        if found is None:
            unfilled[first.nic, first.direction] = "nothing else is attached to its switch"
            continue
        fillings.append(found)
        done |= {by_nic[nic] for nic in found.filled}
        if each not in done:
            sum_bps = found.rate_bps / each.rate_bps
            unfilled[first.nic, first.direction] = f"its peers carry {sum_bps:.0%} of its rate"
            done.add(each)
    return Chosen(_rounds(f for f in fillings if f.filled), unfilled)


def _networks(plan: Plan) -> dict[str, list[_Port]]:
    """Switch -> the ports of domains on it; of hosts with one link only, which is unambiguous."""
    meters: dict[str, dict[str, int]] = {}
    kinds: dict[str, str] = {}
    for meter in plan.meters:
        meters.setdefault(meter.nic, {})[meter.direction] = meter.rate_bps
        kinds[meter.nic] = meter.kind
    found: dict[str, list[_Port]] = {}
    for name, domain in plan.domains.items():
        links = [link for link in plan.links if name in (link.a, link.b)]
        for device, address in domain.addresses.items():
            nic = f"{name}/{device}"
            mine = [link for link in links if link.kind == kinds.get(nic)]
            if kinds.get(nic) in _NETWORKS and len(mine) == 1:
                switch = _other_end(mine[0], name)
                found.setdefault(switch, []).append(_Port(name, address, nic, meters[nic]))
    return found


def _other_end(link: Link, name: str) -> str:
    return link.b if link.a == name else link.a


def _filling(
    plan: Plan,
    members: list[Meter],
    networks: Mapping[str, list[_Port]],
    by_nic: Mapping[Nic, LinkClass],
    done: set[LinkClass],
) -> Filling | None:
    """What fills a link of a class; None if nothing can."""
    if members[0].kind in ("cnic", "pcie"):
        return _inside(plan, members[0])
    for meter in members:
        for ports in networks.values():
            for port in ports:
                peers = [peer for peer in ports if peer.domain != port.domain]
                if port.nic == meter.nic and peers:
                    return _spread(port, meter, peers, by_nic, done)
    return None


def _inside(plan: Plan, meter: Meter) -> Filling:
    """DRAM to HBM of one engine, or back: by its CNIC, or by its PCIe link."""
    node, _, device = meter.nic.partition("/")
    rail = device.lstrip("cnipe")
    dram, hbm = plan.domains[node], plan.domains[f"{node}g{rail}"]
    there = hbm.addresses[device if meter.kind == "cnic" else "pcie"]
    down = Flow(dram.name, dram.addresses[device], hbm.name, there)
    up = Flow(down.target, down.target_address, down.source, down.source_address)
    if meter.kind == "cnic":
        nics = frozenset({(meter.nic, "read"), (meter.nic, "write")})
        return Filling((down,), dict.fromkeys(nics, (0,)), nics, nics, meter.rate_bps)
    both = frozenset({(meter.nic, "out"), (meter.nic, "in")})
    flow = down if meter.direction == "out" else up
    filled = (meter.nic, meter.direction)
    return Filling((flow,), {filled: (0,)}, frozenset({filled}), both, meter.rate_bps)


def _spread(
    port: _Port,
    meter: Meter,
    peers: list[_Port],
    by_nic: Mapping[Nic, LinkClass],
    done: set[LinkClass],
) -> Filling:
    """One port to, or from, as many peers as fill it."""
    outward = meter.direction == "out"
    far = "in" if outward else "out"
    # First those whose class is still to be done.
    peers = sorted(peers, key=lambda p: (by_nic[p.nic, far] in done, -p.rates_bps[far]))
    chosen: list[_Port] = []
    sum_bps = 0
    for peer in peers:
        if sum_bps * _EQUAL >= meter.rate_bps:
            break
        chosen.append(peer)
        sum_bps += peer.rates_bps[far]
    ends = [((port.domain, port.address), (peer.domain, peer.address)) for peer in chosen]
    flows = tuple(Flow(*here, *there) if outward else Flow(*there, *here) for here, there in ends)
    crossing: dict[Nic, tuple[int, ...]] = {
        (peer.nic, far): (number,) for number, peer in enumerate(chosen)
    }
    filled = set(crossing) if sum_bps <= meter.rate_bps * _EQUAL else set()
    crossing[port.nic, meter.direction] = tuple(range(len(flows)))
    if sum_bps * _EQUAL >= meter.rate_bps:
        filled.add((port.nic, meter.direction))
    # Both directions: acknowledgements come back.
    used = {(p.nic, direction) for p in [port, *chosen] for direction in ("in", "out")}
    rate_bps = min(sum_bps, meter.rate_bps)
    return Filling(flows, crossing, frozenset(filled), frozenset(used), rate_bps)


def _rounds(fillings: Iterable[Filling]) -> list[list[Filling]]:
    """Fillings in as few rounds as share no NIC, and are no more than the machine can judge."""
    rounds: list[list[Filling]] = []
    for filling in sorted(fillings, key=lambda f: -f.rate_bps):
        for some in rounds:
            if _fits(filling, some):
                some.append(filling)
                break
        else:
            rounds.append([filling])
    return rounds


def _fits(filling: Filling, others: list[Filling]) -> bool:
    if sum(f.rate_bps for f in [filling, *others]) > ROUND_BPS:
        return False
    return all(filling.nics.isdisjoint(other.nics) for other in others)


def flows_of(fillings: Iterable[Filling]) -> Iterator[Flow]:
    """All flows of a round, in order."""
    for filling in fillings:
        yield from filling.flows
