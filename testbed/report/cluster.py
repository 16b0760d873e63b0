"""The cluster, drawn: each NIC is a gauge for each direction, filled as far as its line was used.

Use is told three times, so that no colour need be told from another: by the height of the fill, by
a colour that darkens (and changes hue only where a NIC is full), and in figures.

A node is drawn as it is built: the SNIC on the storage fabric above it, the engines' HBM and the
DRAM that their CNICs read and write, the CNICs on the compute fabric below.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import NamedTuple

from testbed.report import svg
from testbed.report.series import KINDS, Use
from testbed.report.words import shown

FULL_SHARE = 0.97  # a NIC this full binds
WIDTH = 1080.0  # rows are wrapped there

_STEPS = (0.25, 0.5, 0.75)
_GAUGE, _HEIGHT = 6.0, 34.0  # of one direction
_PAIR = 2 * _GAUGE + 1
_RAIL = _PAIR + 5  # from CNIC to CNIC
_NODE, _HOST_ROW = 132.0, 72.0  # the width at least; the height with what is between rows
_GAP = 14.0
_BETWEEN_ROLES = 26.0
_ROLES = {"prefill": 0, "decode": 1}


@dataclass
class _Node:
    """What is drawn as one box."""

    name: str
    role: str
    nics: dict[str, dict[str, Use]] = field(default_factory=dict)

    def of(self, *kinds: str) -> list[dict[str, Use]]:
        """Its NICs of some kinds, each as direction -> use."""
        return [nic for nic in self.nics.values() if next(iter(nic.values())).kind in kinds]

    @property
    def width(self) -> float:
        beside_text = len(self.of("snic", "link")) - 1
        return max(_NODE + beside_text * _RAIL, len(self.of("cnic")) * _RAIL + 12)


class _Block(NamedTuple):
    """A node in its place."""

    node: _Node
    x: float


def draw(uses: Sequence[Use], variant: str, links: Sequence[tuple[str, str]] = ()) -> str:
    """The cluster under one variant, as SVG.

    Args:
        uses: of its NICs; in the order of the plan.
        variant: for those who do not see the drawing.
        links: of plain hosts and switches, by their names.
    """
    nodes: dict[str, _Node] = {}
    for use in uses:
        node = nodes.setdefault(use.node, _Node(use.node, use.role))
        node.nics.setdefault(use.nic, {})[use.direction] = use
    if any(use.kind == "cnic" for use in uses):
        body, width, height = _serving(list(nodes.values()))
    else:
        body, width, height = _plain(list(nodes.values()), links)
    full = [f"{u.nic} {u.direction}" for u in uses if u.share >= FULL_SHARE]
    said = f"The cluster under {variant}; full NICs: {', '.join(full) or 'none'}"
    return svg.drawing(width, height, body, said)


def legend() -> str:
    """What the gauges mean, as SVG."""
    parts, x = [], 1.0
    for share, said in ((0.1, "< 25 %"), (0.4, "25–50 %"), (0.65, "50–75 %"), (0.9, "75–97 %")):
        parts += [_gauge(x, 2, share), svg.text(x + 13, 24, said, fill="soft")]
        x += 76
    parts += [_gauge(x, 2, 1.0), svg.text(x + 13, 24, "full (≥ 97 %)", font_weight="600")]
    return svg.drawing(x + 92, 40, "".join(parts), "Legend: the fill of a gauge is use of the line")


def _serving(nodes: list[_Node]) -> tuple[str, float, float]:
    """Nodes between the storage fabric and the compute fabric, in as many rows as they need."""
    storage = [node for node in nodes if node.role == "storage"]
    engines = [node for node in nodes if node.role != "storage" and node.nics]
    engines.sort(key=lambda node: _ROLES.get(node.role, 2))
    rows = _rows(engines)
    width = max(_end(row) for row in rows) + 18
    parts: list[str] = []
    y = 14.0
    x = 18.0
    for node in storage:
        parts.append(_storage(node, x, y))
        x += node.width + _GAP
    y += 74 if storage else 0
    # A line of figures more, if there is anything in it.
    height = 150.0 + 12 * any(node.of("nvlink", "pcie") for node in engines)
    tops, bottoms = [], []
    for row in rows:
        tops.append(y)
        parts.append(_bus(y, width, "blue"))
        for block in row:
            parts.append(_engine_node(block, y, height))
        y += height + 24
        bottoms.append(y)
        parts.append(_bus(y, width, "amber"))
        y += 26
    # One fabric each, however many rows: the lines are joined at the sides.
    parts.append(svg.line(8, tops[0], 8, tops[-1], "blue", 3))
    parts.append(svg.line(width - 8, bottoms[0], width - 8, bottoms[-1], "amber", 3))
    parts.append(svg.text(18, tops[0] - 6, "storage fabric", font_weight="600"))
    parts.append(svg.text(18, y - 8, "compute fabric", font_weight="600"))
    return "".join(parts), width, y


def _plain(nodes: list[_Node], links: Sequence[tuple[str, str]]) -> tuple[str, float, float]:
    """Hosts under the switch that they are linked to, one switch below the other."""
    parts: list[str] = []
    y, width = 16.0, 100.0
    bars: list[tuple[str, float]] = []
    for switch, members in _under_switches(nodes, links):
        rows = _rows(members)
        width = max(width, *(_end(row) + 18 for row in rows))
        if switch:
            parts.append(svg.text(18, y - 5, switch, font_weight="600"))
            bars.append((switch, y))
        for row in rows:
            if switch:
                parts.append(svg.line(8, y, _end(row) + 10, y, "blue", 3))
            for node, x in row:
                parts.append(_host(node, x, y, hangs=bool(switch) and node.name != switch))
            y += _HOST_ROW
        if switch and len(rows) > 1:
            parts.append(svg.line(8, bars[-1][1], 8, y - _HOST_ROW, "blue", 3))
        y += 14
    at = dict(bars)
    for one, other in links:
        if one in at and other in at:
            parts.append(svg.line(11, at[one], 11, at[other], "blue", 1.5))
    return "".join(parts), width, y - 10


def _host(node: _Node, x: float, y: float, *, hangs: bool) -> str:
    """A host (or what a switch sends to other switches), below its switch at `y`."""
    parts = [_box(x, y + 10, node, 48)]
    for number, nic in enumerate(node.of("snic", "link")):
        at = x + node.width - 20 - number * _RAIL
        if hangs:
            parts.append(svg.line(at + _PAIR / 2, y, at + _PAIR / 2, y + 17, "blue", 1.5))
        parts.append(_pair(at, y + 17, nic))
    parts.append(_figures(node, x, y + 42, "snic", "link"))
    return "".join(parts)


def _under_switches(
    nodes: Sequence[_Node], links: Sequence[tuple[str, str]]
) -> list[tuple[str, list[_Node]]]:
    """Switch -> what is drawn under it; the empty name where it is not known."""
    ends = {name for link in links for name in link}
    hosts = {node.name for node in nodes if node.role != "switch"}
    found: dict[str, list[_Node]] = {}
    for node in nodes:
        if node.role == "switch":
            switch = node.name if links else ""
        else:
            beside = [b if a == node.name else a for a, b in links if node.name in (a, b)]
            switch = next((name for name in beside if name in ends - hosts), "")
        found.setdefault(switch, []).append(node)
    return sorted(found.items())


def _rows(nodes: Sequence[_Node]) -> list[list[_Block]]:
    """Nodes from left to right, wrapped."""
    rows: list[list[_Block]] = [[]]
    x, role = 18.0, nodes[0].role if nodes else ""
    for node in nodes:
        if rows[-1] and node.role != role:
            x += _BETWEEN_ROLES - _GAP
        role = node.role
        if rows[-1] and x + node.width > WIDTH:
            rows.append([])
            x = 18.0
        rows[-1].append(_Block(node, x))
        x += node.width + _GAP
    return rows


def _end(row: Sequence[_Block]) -> float:
    return row[-1].x + row[-1].node.width if row else 100.0


def _bus(y: float, width: float, colour: str) -> str:
    return svg.line(8, y, width - 8, y, colour, 3)


def _box(x: float, y: float, node: _Node, height: float) -> str:
    frame = svg.rect(
        x, y, node.width, height, rx=4, fill=svg.colour("card"), stroke=svg.colour("line")
    )
    role = svg.element("tspan", f"  {node.role}", fill=svg.colour("soft"), font_weight="400")
    name = svg.element(
        "text", svg.element("tspan", node.name) + role,
        x=x + 7, y=y + 15, fill=svg.colour("fg"), font_weight="600",
    )  # fmt: skip
    return frame + name


def _storage(node: _Node, x: float, y: float) -> str:
    """A storage node: its NIC hangs on the fabric below it."""
    parts = [_box(x, y, node, 42)]
    for number, nic in enumerate(node.of("snic", "link")):
        at = x + node.width - 20 - number * _RAIL
        parts.append(svg.line(at + _PAIR / 2, y + 38, at + _PAIR / 2, y + 74, "blue", 1.5))
        parts.append(_pair(at, y + 4, nic))
    parts.append(_figures(node, x, y + 31, "snic", "link"))
    return "".join(parts)


def _engine_node(block: _Block, y: float, height: float) -> str:
    """A node with engines, so high, between the fabrics."""
    node, x = block
    top, parts = y + 12, [_box(x, y + 12, node, height)]
    for number, nic in enumerate(node.of("snic")):
        at = x + node.width - 20 - number * _RAIL
        parts.append(svg.line(at + _PAIR / 2, y, at + _PAIR / 2, top + 6, "blue", 1.5))
        parts.append(_pair(at, top + 6, nic))
    parts.append(_figures(node, x, top + 31, "snic"))
    cnics = node.of("cnic")
    first = x + (node.width - len(cnics) * _RAIL + 5) / 2
    dram = top + 48
    parts.append(
        svg.rect(x + 6, dram, node.width - 12, 14, rx=2, fill="none", stroke=svg.colour("grey"))
    )
    parts.append(svg.text(x + 11, dram + 10.5, "DRAM", fill="soft", font_size="9"))
    for number, nic in enumerate(cnics):
        at = first + number * _RAIL
        parts.append(svg.line(at + 1.5, dram + 14, at + 1.5, dram + 42, "grey"))
        parts.append(
            svg.rect(
                at + 4, dram + 20, 10, 11,
                svg.title(f"HBM of engine {number}"),
                rx=2, fill="none", stroke=svg.colour("grey"),
            )
        )  # fmt: skip
        parts.append(svg.line(at + 9, dram + 31, at + 9, dram + 42, "grey"))
        parts.append(_pair(at, dram + 42, nic))
        parts.append(
            svg.line(
                at + _PAIR / 2, dram + 42 + _HEIGHT, at + _PAIR / 2, y + height + 24, "amber", 1.5
            )
        )
    parts.append(_figures(node, x, top + 138, "cnic"))
    parts.append(_figures(node, x, top + 152, "nvlink", "pcie"))
    return "".join(parts)


def _figures(node: _Node, x: float, y: float, *kinds: str) -> str:
    """The mean use of a node's NICs of some kinds, in figures."""
    shares: dict[tuple[str, str], list[float]] = {}
    for nic in node.of(*kinds):
        for use in _ordered(nic):
            shares.setdefault((use.kind, use.direction), []).append(use.share)
    if not shares:
        return ""
    said = " · ".join(
        f"{direction if kind not in ('nvlink', 'pcie') else f'{KINDS[kind]} {direction}'} "
        f"{100 * fmean(values):.0f}\u202f%"
        for (kind, direction), values in shares.items()
    )
    told = svg.text(x + 7, y, said, fill="soft", font_size="9.5")
    if "snic" in kinds:
        return told
    # Lines to the compute fabric pass behind it.
    return svg.rect(x + 1, y - 9, node.width - 2, 12, fill=svg.colour("card")) + told


def _pair(x: float, y: float, nic: dict[str, Use]) -> str:
    """Both directions of a NIC."""
    return "".join(
        _gauge(x + number * (_GAUGE + 1), y, use.share, use)
        for number, use in enumerate(_ordered(nic))
    )


def _ordered(nic: dict[str, Use]) -> list[Use]:
    """What enters (or is read) on the left."""
    order = ("in", "read", "out", "write")
    return sorted(nic.values(), key=lambda use: order.index(use.direction))


def _gauge(x: float, y: float, share: float, use: Use | None = None) -> str:
    full = share >= FULL_SHARE
    step = "full" if full else f"use{sum(share >= edge for edge in _STEPS)}"
    filled = max(0.0, min(1.0, share)) * _HEIGHT
    said = ""
    if use is not None:
        carried, line = shown("_bps", share * use.rate_bps), shown("_bps", use.rate_bps)
        said = svg.title(
            f"{use.nic} {use.direction}: {100 * share:.1f}\u202f%, {carried} of {line}"
        )
    frame = svg.rect(
        x, y, _GAUGE, _HEIGHT, said,
        fill=svg.colour("paper"), stroke=svg.colour("full" if full else "grey"),
        stroke_width=1.8 if full else 0.8,
    )  # fmt: skip
    level = svg.rect(
        x, y + _HEIGHT - filled, _GAUGE, filled, fill=svg.colour(step), pointer_events="none"
    )
    return svg.element("g", frame + level)
