"""Shapers and redirects, read back: qdiscs, classes, filters and their actions (tc(8))."""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from testbed.errors import KernelError
from testbed.kernel import encoding
from testbed.kernel import shaper_messages as messages
from testbed.kernel.attributes import attributes, text, uint32
from testbed.kernel.encoding import RTM_GETQDISC, RTM_GETTCLASS, RTM_GETTFILTER
from testbed.kernel.netlink import HEADER, RouteSocket
from testbed.kernel.tc_options import Decoder, is_own_table
from testbed.plan.model import (
    AnyElement,
    Filter,
    Redirect,
    Shaper,
    ShaperClass,
    Unknown,
)

MESSAGE = struct.Struct("=BxxxiIII")  # struct tcmsg
TCA_KIND, TCA_OPTIONS = 1, 2
_TCA_CHAIN, _TCA_DUMP_INVISIBLE = 11, 10
_ATTRIBUTES_AT = HEADER.size + MESSAGE.size
_U32_TABLE, _U32_BUCKET, _U32_ROOT = 0xFFF00000, 0x000FF000, 0xFFF00000


class _Listed(NamedTuple):
    """One filter as the kernel lists it."""

    parent: int
    info: int  # priority and protocol
    chain: int
    handle: int
    kind: str
    options: bytes

    @property
    def priority(self) -> int:
        """Its place in the order of evaluation."""
        return self.info >> 16

    def name(self) -> str:
        """The filter for people."""
        return f"{self.handle:x} priority {self.priority} at {self.parent & 0xFFFF:x}"

    def odd(self, protocol: int) -> list[str]:
        """What a plan cannot ask for."""
        odd = []
        if self.info & 0xFFFF != socket.htons(protocol):
            odd.append(f"protocol {socket.ntohs(self.info & 0xFFFF):#06x}")
        if self.chain or self.handle & _U32_BUCKET:
            odd.append(f"chain {self.chain}, handle {self.handle:#x}")
        return odd


class TrafficReader:
    """Reads the traffic control of one namespace.

    Args:
        namespace: the socket's.
        route_socket: where to ask.
        devices: index -> name.
        decoder: shared with other namespaces.
    """

    def __init__(
        self, namespace: str, route_socket: RouteSocket, devices: Mapping[int, str],
        decoder: Decoder,
    ) -> None:  # fmt: skip
        self._namespace = namespace
        self._socket = route_socket
        self._devices = devices
        self._decoder = decoder
        self._elements: list[AnyElement] = []
        self._limits: dict[tuple[int, int], int] = {}  # device, class -> packets
        self._shaped: dict[int, int] = {}  # device -> handle
        self._hooked: list[int] = []

    def elements(self) -> list[AnyElement]:
        """Every shaper, class, filter and redirect, and every qdisc that is none of these."""
        extra = encoding.attribute(_TCA_DUMP_INVISIBLE)  # or a class's own FIFO is not shown
        for message in self._dump(RTM_GETQDISC, 0, 0, extra):
            self._qdisc(message)
        for index in self._shaped:
            self._classes(index)
        for index in self._hooked:
            self._redirects(index)
        for (index, parent), packets in self._limits.items():  # of no class that was found
            self._unknown("qdisc", f"pfifo of {self._name(index)}", f"{packets} at {parent:#x}")
        return self._elements

    def _dump(self, kind: int, index: int, parent: int, extra: bytes = b"") -> list[bytes]:
        fixed = MESSAGE.pack(0, index, 0, parent, 0)
        return self._socket.dump(encoding.question(kind, fixed, extra))

    def _unknown(self, kind: str, name: str, detail: str) -> None:
        self._elements.append(Unknown(self._namespace, kind, name, detail))

    def _name(self, index: int) -> str:
        return self._devices.get(index, f"index {index}")

    # --- qdiscs ------------------------------------------------------------------------------

    def _qdisc(self, message: bytes) -> None:
        _, index, handle, parent, _ = MESSAGE.unpack_from(message, HEADER.size)
        found = attributes(message, _ATTRIBUTES_AT)
        kind = text(found.get(TCA_KIND))
        options = found.get(TCA_OPTIONS, b"")
        if parent == messages.TC_H_ROOT and handle == 0:
            return  # the kernel's default; only what somebody asked for has a handle
        if kind == "htb" and parent == messages.TC_H_ROOT:
            self._shaper(index, handle, options)
        elif kind == "pfifo" and parent not in (messages.TC_H_ROOT, messages.TC_H_CLSACT):
            self._limits[index, parent] = uint32(options) or 0
        elif kind == "clsact":
            self._hooked.append(index)
        else:
            where = f"{kind} {handle >> 16:x}: of {self._name(index)}"
            self._unknown("qdisc", where, f"below {parent:#x}")

    def _shaper(self, index: int, handle: int, options: bytes) -> None:
        found = attributes(options)
        _, rate2quantum, default, _, _ = messages.HTB_GLOBAL.unpack_from(found[messages.HTB_INIT])
        direct = uint32(found.get(messages.HTB_DIRECT_QLEN)) or 0
        self._shaped[index] = handle
        self._elements.append(
            Shaper(self._namespace, self._name(index), handle >> 16, default, direct)
        )
        odd = []
        if rate2quantum != messages.HTB_RATE2QUANTUM:
            odd.append(f"rate to quantum {rate2quantum}")
        if messages.HTB_OFFLOAD in found:
            odd.append("offload")
        if odd:
            self._unknown("shaper", self._name(index), ", ".join(odd))

    # --- classes and filters -----------------------------------------------------------------

    def _classes(self, index: int) -> None:
        device, inner, all_classes = self._name(index), {0}, set()
        for message in self._dump(RTM_GETTCLASS, index, 0):
            _, _, handle, parent, _ = MESSAGE.unpack_from(message, HEADER.size)
            found = attributes(message, _ATTRIBUTES_AT)
            contract, odd = self._decoder.htb_class(found[TCA_OPTIONS])
            minor = handle & 0xFFFF
            above = 0 if parent == messages.TC_H_ROOT else parent & 0xFFFF
            queue = self._limits.pop((index, handle), 0)
            inner.add(above)
            all_classes.add(minor)
            self._elements.append(
                ShaperClass(self._namespace, device, minor, above, *contract, queue_packets=queue)
            )
            if odd:
                self._unknown("class", f"{minor:x} of {device}", ", ".join(odd))
        self._filters(index, sorted(inner), sorted(all_classes - inner))

    def _filters(self, index: int, inner: Sequence[int], leaves: Sequence[int]) -> None:
        device, handle = self._name(index), self._shaped[index]
        major = handle >> 16
        places, elsewhere = [handle | c for c in inner], [handle | c for c in leaves]
        for found in self._listed(index, places, elsewhere):
            name = f"{found.name()} of {device}"
            if found.kind != "u32":
                self._unknown("filter", name, f"of kind {found.kind}")
                continue
            match = self._decoder.u32(found.options)
            odd = [*match.odd, *found.odd(messages.ETH_P_IP)]
            if match.target is not None:
                odd.append("redirects")
            if match.classid >> 16 != major:
                odd.append(f"class {match.classid >> 16:x}:")
            chosen = Filter(
                self._namespace, device, found.parent & 0xFFFF, found.priority,
                found.handle & 0xFFF, match.tos, match.tos_mask, match.source,
                match.source_mask, match.classid & 0xFFFF,
            )  # fmt: skip
            self._elements.append(chosen)
            if odd:
                self._unknown("filter", name, ", ".join(odd))

    def _listed(
        self, index: int, parents: Sequence[int], elsewhere: Sequence[int] = ()
    ) -> list[_Listed]:
        """The filters in the chains of some places of one qdisc.

        Places `elsewhere` are asked only if there is a filter in none of the others' tables:
        HTB never looks at the chain of a leaf, so nothing is to be expected there.

        u32 lists the filters of *all* its chains wherever it is asked, because they share one
        set of hash tables; each chain is therefore asked for its own table.
        """
        listed: list[_Listed] = []
        nodes: dict[int, bytes] = {}  # u32 handle -> options
        chains: list[tuple[int, int, int]] = []  # parent, info, chain
        for parent in parents:
            for message in self._dump(RTM_GETTFILTER, index, parent):
                _, _, handle, _, info = MESSAGE.unpack_from(message, HEADER.size)
                if handle in nodes:
                    continue
                found = attributes(message, _ATTRIBUTES_AT)
                kind, options = text(found.get(TCA_KIND)), found.get(TCA_OPTIONS)
                chain = uint32(found.get(_TCA_CHAIN)) or 0
                if kind == "u32" and handle == 0:
                    chains.append((parent, info, chain))
                elif kind == "u32" and options is not None:
                    nodes[handle] = options
                elif options is not None:
                    listed.append(_Listed(parent, info, chain, handle, kind, options))
        tables = dict(zip(self._tables(index, chains), chains, strict=True))
        if elsewhere and any(handle & _U32_TABLE not in tables for handle in nodes):
            return self._listed(index, [*parents, *elsewhere])
        for handle, options in nodes.items():
            table = handle & _U32_TABLE
            if table in tables and handle == table and is_own_table(options):
                continue
            parent, info, chain = tables.get(table, (parents[0], 0, 0))
            kind = "u32" if table in tables else "u32 in a table of its own"
            listed.append(_Listed(parent, info, chain, handle, kind, options))
        return listed

    def _tables(self, index: int, chains: Sequence[tuple[int, int, int]]) -> list[int]:
        """The handle of the hash table of each u32 chain (parent, info, chain)."""
        requests = []
        for parent, info, chain in chains:
            fixed = MESSAGE.pack(0, index, _U32_ROOT, parent, info)
            wanted = encoding.uint32(_TCA_CHAIN, chain)
            requests.append(encoding.question(RTM_GETTFILTER, fixed, wanted))
        tables = []
        for answer in self._socket.ask(requests):
            if answer is None:
                raise KernelError(f"the filters of {self._name(index)} changed while being read")
            tables.append(MESSAGE.unpack_from(answer, HEADER.size)[2] & _U32_TABLE)
        return tables

    # --- redirects ---------------------------------------------------------------------------

    def _redirects(self, index: int) -> None:
        device = self._name(index)
        directions: dict[int, Literal["ingress", "egress"]] = {
            messages.CLSACT_PARENT["ingress"]: "ingress",
            messages.CLSACT_PARENT["egress"]: "egress",
        }
        found_at = set()
        for found in self._listed(index, list(directions)):
            direction = directions[found.parent]
            name = f"{found.name()} at {direction} of {device}"
            match = self._decoder.u32(found.options) if found.kind == "u32" else None
            if match is None or match.target is None or found.parent in found_at:
                self._unknown("filter", name, f"of kind {found.kind}, no redirect of its own")
                continue
            found_at.add(found.parent)
            target = self._name(match.target)
            self._elements.append(Redirect(self._namespace, device, direction, target))
            odd = [*match.odd, *found.odd(messages.ETH_P_ALL)]
            if match.tos_mask or match.source_mask:
                odd.append("not everything")
            if found.priority != 1 or found.handle & 0xFFF != 1:
                odd.append("of another priority or handle")
            if odd:
                self._unknown("filter", name, ", ".join(odd))
        if not found_at:
            self._unknown("qdisc", f"clsact of {device}", "without a redirect")
