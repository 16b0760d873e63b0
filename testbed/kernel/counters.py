"""Reading a cluster's counters often: shapers by netlink, devices and TCP from /proc.

Classes are asked for one by one, by their handles, many requests to a system call: a dump would
bring every leaf of every shaper each time.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from testbed.errors import KernelError
from testbed.kernel.attributes import attributes, uint64
from testbed.kernel.encoding import RTM_GETQDISC, RTM_GETTCLASS, question
from testbed.kernel.links import list_links
from testbed.kernel.namespaces import inside
from testbed.kernel.netlink import HEADER, RouteSocket, route_sockets
from testbed.kernel.samples import LaneSample, LeafSample, LinkSample, MeterSample
from testbed.kernel.shaper_messages import HTB_GLOBAL, HTB_INIT, TC_H_ROOT
from testbed.kernel.traffic import MESSAGE, TCA_OPTIONS
from testbed.plan.model import Meter

_ATTRIBUTES_AT = HEADER.size + MESSAGE.size
_TCA_STATS2, _STATS_BASIC, _STATS_QUEUE, _STATS_PKT64 = 7, 1, 3, 8
_BASIC = struct.Struct("=QI")  # struct gnet_stats_basic
_QUEUE = struct.Struct("=IIIII")  # struct gnet_stats_queue
_RECEIVE_BYTES = 1 << 20
_ANSWER_BYTES = 6144  # what one answer takes of the receive buffer: a page and its bookkeeping
# What each namespace tells of its TCP (RFC 4022, and Linux's TcpExt in /proc/net/netstat).
TCP_COUNTERS = (
    "InSegs", "OutSegs", "RetransSegs", "InErrs", "OutRsts", "AttemptFails", "EstabResets",
    "TCPTimeouts", "TCPLossProbes", "TCPSpuriousRTOs", "TCPFastRetrans", "TCPSlowStartRetrans",
    "TCPLostRetransmit", "TCPRetransFail", "TCPSynRetrans", "TCPDSACKRecv", "TCPRcvQDrop",
    "TCPBacklogDrop", "TCPZeroWindowDrop", "ListenDrops", "ListenOverflows",
)  # fmt: skip


class _Stats(NamedTuple):
    """The counters of a qdisc or a class."""

    bytes: int
    packets: int
    queued: int
    backlog_bytes: int
    drops: int
    requeues: int
    overlimits: int


class _Place(NamedTuple):
    """A meter, and what is asked about it: its qdisc, then a class for each lane."""

    meter: Meter
    requests: tuple[bytes, ...]


class Counters:
    """The counters of a cluster.

    Args:
        meters: what `sample` reads.
        namespaces: name -> descriptor of the network namespace; used as long as this is.

    Raises:
        KernelError: a meter's device is not there.
    """

    def __init__(self, meters: Sequence[Meter], namespaces: Mapping[str, int]) -> None:
        self._meters = tuple(meters)
        self._namespaces = dict(namespaces)
        self._places: dict[str, list[_Place]] = {}
        with ExitStack() as stack:
            names = dict.fromkeys(meter.namespace for meter in meters)
            self._sockets = stack.enter_context(route_sockets(namespaces, names))
            self._batch_requests = 1
            for name, route_socket in self._sockets.items():
                granted = route_socket.reserve(_RECEIVE_BYTES)
                self._batch_requests = max(1, granted // _ANSWER_BYTES)
                indexes = {link.name: link.ifindex for link in list_links(route_socket)}
                mine = [meter for meter in meters if meter.namespace == name]
                self._places[name] = [_place(meter, indexes) for meter in mine]
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()

    def close(self) -> None:
        """Give the sockets back."""
        self._stack.close()

    def sample(self) -> list[MeterSample]:
        """All meters now, in the order that they were given in.

        Raises:
            KernelError: a shaper is gone.
        """
        samples = {}
        for name, places in self._places.items():
            for some in _chunks(places, self._batch_requests):
                requests = [request for place in some for request in place.requests]
                t_s = time.monotonic()
                answers = iter(self._sockets[name].ask(requests))
                for place in some:
                    mine = [next(answers) for _ in place.requests]
                    key = (place.meter.nic, place.meter.direction)
                    samples[key] = _sample(t_s, place.meter, mine)
        return [samples[meter.nic, meter.direction] for meter in self._meters]

    def leaves(self) -> list[LeafSample]:
        """All leaf classes of all meters now: for fairness and for finding a drop."""
        found = []
        for name, places in self._places.items():
            for place in places:
                found += _leaves(place, self._sockets[name])
        return found

    def links(self) -> dict[str, dict[str, LinkSample]]:
        """Namespace -> device -> counters now, of every device but the loopbacks."""
        return {name: _links(text) for name, text in self._read("dev").items()}

    def tcp(self) -> dict[str, dict[str, int]]:
        """Namespace -> counter -> value now; the counters are `TCP_COUNTERS`.

        One that the kernel does not have is left out.
        """
        basic, extended = self._read("snmp"), self._read("netstat")
        return {
            name: _tcp(basic[name].splitlines() + extended[name].splitlines())
            for name in self._namespaces
        }

    def _read(self, file: str) -> dict[str, str]:
        texts = {}
        for name, net in self._namespaces.items():
            with inside(net):
                texts[name] = (Path("/proc/thread-self/net") / file).read_text()
        return texts


def _chunks(places: Sequence[_Place], requests: int) -> Iterable[list[_Place]]:
    """Places whose requests together are at most so many."""
    some: list[_Place] = []
    size = 0
    for place in places:
        if some and size + len(place.requests) > requests:
            yield some
            some, size = [], 0
        some.append(place)
        size += len(place.requests)
    if some:
        yield some


def _place(meter: Meter, indexes: Mapping[str, int]) -> _Place:
    if meter.device not in indexes:
        raise KernelError(f"there is no {meter.device} in {meter.namespace} to read {meter.nic} of")
    index = indexes[meter.device]
    requests = [_request(RTM_GETQDISC, index, 0, TC_H_ROOT)]
    requests += [
        _request(RTM_GETTCLASS, index, 1 << 16 | classid, 0) for classid in meter.lanes.values()
    ]
    return _Place(meter, tuple(requests))


def _request(kind: int, index: int, handle: int, parent: int) -> bytes:
    return question(kind, MESSAGE.pack(0, index, handle, parent, 0))


def _sample(t_s: float, meter: Meter, answers: Sequence[bytes | None]) -> MeterSample:
    found = []
    for answer in answers:
        if answer is None:
            raise KernelError(
                f"the shaper of {meter.nic} ({meter.direction}) on {meter.device} in "
                f"{meter.namespace} is gone or has lost a lane"
            )
        found.append(attributes(answer, _ATTRIBUTES_AT))
    total = _stats(found[0])
    options = attributes(found[0][TCA_OPTIONS])
    *_, direct_packets = HTB_GLOBAL.unpack_from(options[HTB_INIT])
    lanes = {}
    for lane, each in zip(meter.lanes, found[1:], strict=True):
        stats = _stats(each)
        lanes[lane] = LaneSample(stats.bytes, stats.packets, stats.overlimits)
    return MeterSample(
        t_s, meter.nic, meter.kind, meter.node, meter.role, meter.direction, meter.rate_bps,
        total.bytes, total.packets, total.drops, total.overlimits, total.requeues,
        total.backlog_bytes, total.queued, direct_packets, lanes["unclassified"].bytes, lanes,
    )  # fmt: skip


def _stats(found: Mapping[int, bytes]) -> _Stats:
    nested = attributes(found[_TCA_STATS2])
    size_bytes, packets = _BASIC.unpack_from(nested[_STATS_BASIC])
    # The 32-bit count wraps; the kernel adds the whole one when it has.
    whole = uint64(nested.get(_STATS_PKT64))
    queued, backlog, drops, requeues, overlimits = _QUEUE.unpack_from(nested[_STATS_QUEUE])
    return _Stats(size_bytes, whole or packets, queued, backlog, drops, requeues, overlimits)


def _leaves(place: _Place, route_socket: RouteSocket) -> list[LeafSample]:
    _, index, _, _, _ = MESSAGE.unpack_from(place.requests[0], HEADER.size)
    parents, leaves = set(), []
    for message in route_socket.dump(_request(RTM_GETTCLASS, index, 0, 0)):
        _, _, handle, parent, _ = MESSAGE.unpack_from(message, HEADER.size)
        stats = _stats(attributes(message, _ATTRIBUTES_AT))
        parents.add(parent)
        leaves.append(
            (handle, LeafSample(
                place.meter.nic, place.meter.direction, handle & 0xFFFF, parent & 0xFFFF,
                stats.bytes, stats.packets, stats.drops, stats.backlog_bytes, stats.queued,
            ))
        )  # fmt: skip
    return [leaf for handle, leaf in leaves if handle not in parents]


def _links(text: str) -> dict[str, LinkSample]:
    found = {}
    for line in text.splitlines()[2:]:
        device, _, numbers = line.partition(":")
        values = [int(number) for number in numbers.split()]
        if device.strip() != "lo":
            found[device.strip()] = LinkSample(*values[0:4], *values[8:12])
    return found


def _tcp(lines: Sequence[str]) -> dict[str, int]:
    """Counters of lines that come in pairs, "Tcp: names" and "Tcp: values"."""
    found: dict[str, int] = {}
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        if names.startswith(("Tcp:", "TcpExt:")):
            pairs = zip(names.split()[1:], values.split()[1:], strict=True)
            found |= {name: int(value) for name, value in pairs if name in TCP_COUNTERS}
    return found
