"""What the shapers do to frames, and that the counters tell it.

h1 <-> sw <-> h2, and dram <-> nic0 <-> hbm
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable, Mapping

import pytest

from testbed.errors import KernelError
from testbed.kernel.counters import Counters
from testbed.kernel.namespaces import inside
from testbed.kernel.samples import MeterSample
from testbed.plan.lanes import KV_LEAVES, LANE_CLASSES, MODEL_TOS
from testbed.plan.model import Meter, Plan, ShaperClass, burst_bytes

BringUp = Callable[[Plan], Mapping[str, int]]
RATE_BPS = 80_000_000
FRAME_BYTES = 1000
EXPERIMENTAL = 0x88B5  # an EtherType for local experiments (IEEE 802)
ETHERNET_BYTES, IP_BYTES, UDP_BYTES = 14, 20, 8
ADDRESSES = {"h1": "10.64.0.1", "h2": "10.64.0.2", "dram": "10.64.0.1", "hbm": "10.64.0.2"}


def meter(nic: str, direction: str, namespace: str, device: str) -> Meter:
    return Meter(
        nic, "link", nic.split("/")[0], "host", direction, namespace, device, RATE_BPS, 0,
        dict(LANE_CLASSES),
    )  # type: ignore[arg-type]  # fmt: skip


OUT = meter("h1/h1-eth0", "out", "h1", "h1-eth0")
BACK = meter("h2/h2-eth0", "out", "h2", "h2-eth0")


def one(counters: Counters) -> MeterSample:
    (sample,) = counters.sample()
    return sample


def udp(nets: Mapping[str, int], name: str, tos: int = 0) -> socket.socket:
    with inside(nets[name]):
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)
    made.bind((ADDRESSES[name], 0))
    made.settimeout(20)
    return made


def raw(nets: Mapping[str, int], name: str, device: str) -> socket.socket:
    with inside(nets[name]):
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    made.bind((device, 0))
    return made


def packet(source: int) -> bytes:
    """An IPv4 packet from any source, as a frame to h2."""
    ether = bytes.fromhex("02000a400002") + bytes.fromhex("02000a400001") + b"\x08\x00"
    length = FRAME_BYTES - ETHERNET_BYTES
    destination = socket.inet_aton(ADDRESSES["h2"])
    head = struct.pack(">BBHHHBBHI", 0x45, 0, length, 0, 0, 64, 17, 0, source) + destination
    return ether + head + bytes(length - len(head))


@pytest.mark.user
def test_the_first_packet_gets_through(star: Plan, bring_up: BringUp) -> None:
    for _ in range(5):  # `apply` returns when links carry frames, not a moment earlier
        nets = bring_up(star)
        near, far = udp(nets, "h1"), udp(nets, "h2")
        near.sendto(b"hello", far.getsockname())
        assert far.recv(100) == b"hello"


def test_each_lane_counts_its_own(star: Plan, bring_up: BringUp) -> None:
    nets = bring_up(star)
    far = udp(nets, "h2")
    with Counters([OUT], nets) as counters:
        for tos, count in ((MODEL_TOS, 3), (0x20, 5), (0, 7)):
            near = udp(nets, "h1", tos)
            for _ in range(count):
                near.sendto(bytes(FRAME_BYTES), far.getsockname())
                far.recv(2 * FRAME_BYTES)
        sample = one(counters)
    each = FRAME_BYTES + UDP_BYTES + IP_BYTES + ETHERNET_BYTES
    assert {name: lane.bytes for name, lane in sample.lanes.items()} == {
        "model": 3 * each,
        "kv": 12 * each,  # what is not the model's is in the low lane
        "unclassified": 0,
    }
    assert (sample.bytes, sample.packets) == (15 * each, 15)
    assert (sample.drops, sample.backlog_bytes, sample.direct_packets) == (0, 0, 0)


def test_what_is_not_ipv4_is_shaped_and_reported(star: Plan, bring_up: BringUp) -> None:
    nets = bring_up(star)
    sender = raw(nets, "h1", "h1-eth0")
    frame = b"\xff" * 6 + bytes(6) + struct.pack(">H", EXPERIMENTAL)
    frame += bytes(FRAME_BYTES - len(frame))
    with Counters([OUT], nets) as counters:
        before = one(counters)
        for _ in range(100):
            sender.send(frame)
        after = one(counters)
        waiting = after.backlog_packets
        # The default class is a leaf with a rate of its own, so most of it is still queued.
        allowance = star_class(star, 0xF000)
        sent = after.unclassified_bytes - before.unclassified_bytes
        within_s = after.t_s - before.t_s + 0.1
        bound = allowance.ceil_bps / 8 * within_s + burst_bytes(
            allowance.burst_ticks, allowance.rate_bps
        )
        assert after.direct_packets == 0
        assert sent <= bound + FRAME_BYTES
        assert sent + waiting * FRAME_BYTES >= 99 * FRAME_BYTES
        assert after.lanes["kv"].bytes == after.lanes["model"].bytes == 0


def star_class(star: Plan, classid: int) -> ShaperClass:
    (found,) = (
        e
        for e in star.elements
        if isinstance(e, ShaperClass) and (e.device, e.classid) == ("h1-eth0", classid)
    )
    return found


def test_bursts_of_leaves_do_not_add_up(star: Plan, bring_up: BringUp) -> None:
    nets = bring_up(star)
    sender = raw(nets, "h1", "h1-eth0")
    root = star_class(star, 0x1)
    burst = burst_bytes(root.burst_ticks, root.rate_bps)
    with Counters([OUT], nets) as counters:
        start = one(counters)  # idle until now: every bucket is full
        for number in range(600):
            sender.send(packet(0x0A400000 + number % 4))
            if number % 20 == 0:
                now = one(counters)
                # The kernel takes the sample a little after its time.
                bound = RATE_BPS / 8 * (now.t_s - start.t_s + 0.05) + burst
                assert now.bytes - start.bytes <= bound
        leaves = {leaf.classid: leaf for leaf in counters.leaves() if leaf.packets}
    assert set(leaves) == {KV_LEAVES + i for i in range(4)}
    assert all(leaf.parent == LANE_CLASSES["kv"] for leaf in leaves.values())


def test_a_full_queue_drops_and_says_where(star: Plan, bring_up: BringUp) -> None:
    nets = bring_up(star)
    # One sender's socket buffer holds fewer frames than the queue.
    senders = [raw(nets, "h1", "h1-eth0") for _ in range(8)]
    with Counters([OUT], nets) as counters:
        while one(counters).drops == 0:  # together they are far faster than the line
            for sender in senders:
                # Until its buffer is full, or it is told that the queue is (ENOBUFS).
                with contextlib.suppress(OSError):
                    for _ in range(500):
                        sender.send(packet(0x0A400001), socket.MSG_DONTWAIT)
        assert {leaf.classid for leaf in counters.leaves() if leaf.drops} == {KV_LEAVES + 1}


@pytest.mark.user
def test_a_loopback_crosses_read_and_then_write(cnic: Plan, bring_up: BringUp) -> None:
    nets = bring_up(cnic)
    meters = [
        meter("pe0/cnic0", direction, "fabric", f"nic0-{direction}")
        for direction in ("read", "write")
    ]
    with Counters(meters, nets) as counters:
        for here, there in (("dram", "hbm"), ("hbm", "dram")):
            near, far = udp(nets, here), udp(nets, there)
            for _ in range(10):
                near.sendto(bytes(FRAME_BYTES), far.getsockname())
                far.recv(2 * FRAME_BYTES)
        read, write = counters.sample()
        leaves = {(leaf.direction, leaf.classid): leaf.packets for leaf in counters.leaves()}
    each = FRAME_BYTES + UDP_BYTES + IP_BYTES + ETHERNET_BYTES
    assert read.bytes == write.bytes == read.lanes["kv"].bytes == 20 * each
    for direction in ("read", "write"):  # a leaf for each sender
        assert (leaves[direction, KV_LEAVES], leaves[direction, KV_LEAVES + 1]) == (10, 10)


def test_replies_stay_in_their_lane(star: Plan, bring_up: BringUp) -> None:
    nets = bring_up(star)
    with inside(nets["h2"]):
        listener = socket.create_server((ADDRESSES["h2"], 0))
    with inside(nets["h1"]):
        client = socket.socket()
    client.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, MODEL_TOS)
    client.settimeout(20)
    with Counters([BACK], nets) as counters:
        client.connect(listener.getsockname())
        lanes = one(counters).lanes  # the kernel's own answer to the SYN
    assert lanes["model"].packets == 1
    assert lanes["kv"].packets == 0


@pytest.mark.user
def test_tcp_and_link_counters_are_the_namespaces_own(star: Plan, bring_up: BringUp) -> None:
    nets = bring_up(star)
    with inside(nets["h2"]):
        listener = socket.create_server((ADDRESSES["h2"], 0))
    with inside(nets["h1"]):
        client = socket.create_connection(listener.getsockname(), timeout=20)
    server, _ = listener.accept()
    server.settimeout(20)
    client.sendall(bytes(100_000))
    received = 0
    while received < 100_000:
        received += len(server.recv(65536))
    with Counters([], nets) as counters:
        tcp, links = counters.tcp(), counters.links()
    assert tcp["h1"]["OutSegs"] > 0
    assert tcp["h1"]["RetransSegs"] == tcp["h1"]["TCPTimeouts"] == 0
    assert tcp["fabric"]["OutSegs"] == 0  # bridges do not speak TCP
    assert set(links["h1"]) == {"h1-eth0"}
    assert links["h1"]["h1-eth0"].tx_bytes == links["fabric"]["sw-h1"].rx_bytes > 100_000
    assert links["h1"]["h1-eth0"].tx_drops == 0


def test_many_meters_are_sampled_at_once(star: Plan, bring_up: BringUp) -> None:
    nets = bring_up(star)
    meters = [meter(f"h1/{i}", "out", "h1", "h1-eth0") for i in range(300)]
    with Counters(meters, nets) as counters:
        samples = counters.sample()
    assert [sample.nic for sample in samples] == [m.nic for m in meters]
    assert len({sample.bytes for sample in samples}) == 1


def test_a_shaper_that_is_gone_is_an_error(star: Plan, bring_up: BringUp) -> None:
    nets = bring_up(star)
    with pytest.raises(KernelError, match="no h9"):
        Counters([meter("h1/h9", "out", "h1", "h9")], nets)
    lost = Meter(**{f: getattr(OUT, f) for f in OUT.__struct_fields__} | {"lanes": {"x": 0x77}})
    with Counters([lost], nets) as counters, pytest.raises(KernelError, match="lost a lane"):
        counters.sample()
