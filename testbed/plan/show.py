"""A plan as lines for people: nodes, NICs, links, and how many kernel objects they take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from testbed.columns import columns
from testbed.plan.model import Domain, Link, Plan, counts
from testbed.units import show_rate

_MOST_NAMES = 8  # of domains on one line


def plan_lines(plan: Plan) -> list[str]:
    """The whole plan, in sections; see `testbed inspect`."""
    return [
        *_title(plan),
        "",
        "nodes",
        *_indented(_nodes(plan)),
        "",
        "links",
        *_indented(_links(plan.links)),
        "",
        "shapers",
        *_indented(_shapers(plan)),
        "",
        "kernel objects",
        *_indented(_objects(plan)),
    ]


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _title(plan: Plan) -> list[str]:
    settings = "  ".join(f"{key}={value}" for key, value in plan.parameters.items())
    nodes = len({domain.node for domain in plan.domains.values()})
    count = f"{nodes} nodes, {len(plan.domains)} domains, {len(plan.links)} links"
    return [f"topology {plan.topology or '(unnamed)'}  {settings}".rstrip(), count]


def _nodes(plan: Plan) -> list[str]:
    rows = []
    for domain in plan.domains.values():
        if domain.kind == "hbm":
            continue
        engines = [d for d in plan.domains.values() if d.kind == "hbm" and d.node == domain.node]
        rows.append((domain.name, domain.role, _addresses(domain), _names(engines)))
    return columns(rows, ("name", "role", "addresses", "HBM domains"))


def _addresses(domain: Domain) -> str:
    given = [f"{device} {address}" for device, address in domain.addresses.items()]
    many = {"CNIC": "cnic", "PCIe": "pcie"}  # a port for each GPU
    shown = [text for text in given if not text.startswith(tuple(many.values()))]
    for name, device in many.items():
        if count := sum(text.startswith(device) for text in given):
            shown.append(f"{count} {name} ports")
    return ", ".join(shown)


def _names(domains: list[Domain]) -> str:
    names = [domain.name for domain in domains]
    if len(names) <= _MOST_NAMES:
        return " ".join(names)
    return f"{names[0]} … {names[-1]} ({len(names)})"


def _links(links: Sequence[Link]) -> list[str]:
    """Links of one kind and rate that leave one node share a line."""
    kinds: dict[tuple[str, int | None], list[Link]] = {}
    for link in links:
        kinds.setdefault((link.kind, link.rate_bps), []).append(link)
    rows = []
    for (kind, rate_bps), same in kinds.items():
        shown = ", ".join(f"{link.a} ── {link.b}" for link in same[:3])
        more = f", … ({len(same)} in all)" if len(same) > 3 else ""
        rows.append((kind, "unshaped" if rate_bps is None else show_rate(rate_bps), shown + more))
    return columns(rows, ("kind", "rate", "between"))


def _shapers(plan: Plan) -> list[str]:
    kinds = Counter((m.kind, m.direction, m.rate_bps, m.burst_bytes) for m in plan.meters)
    rows = []
    for (kind, direction, rate_bps, burst_bytes), count in kinds.items():
        lanes = next(m.lanes for m in plan.meters if (m.kind, m.direction) == (kind, direction))
        rows.append(
            (kind, direction, str(count), show_rate(rate_bps), f"{burst_bytes} B", " ".join(lanes))
        )
    return columns(rows, ("NIC", "direction", "count", "rate", "burst", "lanes"))


def _objects(plan: Plan) -> list[str]:
    counted = counts(plan)
    rows = [(tag, f"{count:>7}") for tag, count in sorted(counted.items())]
    return columns([*rows, ("total", f"{counted.total():>7}")])
