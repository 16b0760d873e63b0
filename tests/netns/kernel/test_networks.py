"""What whole topologies do to traffic: fair shares, lanes, networks apart, routes by address.

Shares are those of the kernel's byte counters, with generous bounds; nothing asserts a speed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from testbed.kernel.counters import Counters
from testbed.kernel.namespaces import inside
from testbed.kernel.samples import MeterSample
from testbed.plan.compile import PlanSettings, compile_plan
from testbed.plan.lanes import KV_TOS, MODEL_TOS
from testbed.plan.model import Plan
from tests.netns.kernel.pump import Pump
from topologies.dualpath import DualPathTopo
from topologies.single import SingleTopo

BringUp = Callable[[Plan], Mapping[str, int]]
Nic = tuple[str, str]  # nic, direction
SLOW_MBIT = 5.0  # what one process can always keep full, however busy the machine
STARTED_BYTES, COUNTED_BYTES = 200_000, 1_500_000


def samples(counters: Counters) -> dict[Nic, MeterSample]:
    return {(sample.nic, sample.direction): sample for sample in counters.sample()}


def address(plan: Plan, domain: str, device: str) -> str:
    return plan.domains[domain].addresses[device]


# --- fairness ----------------------------------------------------------------------------------


def leaf_bytes(counters: Counters, nic: str, direction: str) -> dict[int, int]:
    return {
        leaf.classid: leaf.bytes
        for leaf in counters.leaves()
        if (leaf.nic, leaf.direction) == (nic, direction)
    }


def jain(shares: Sequence[float]) -> float:
    """Jain's fairness index: 1 if all have the same, 1/n if one has everything."""
    return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))


def test_fairness_is_between_senders_however_many_flows_each_has(bring_up: BringUp) -> None:
    # h1 (1 flow), h2 (1), h3 (6) -- s1 -- h4, 5 Mbit
    plan = compile_plan(SingleTopo(k=4, bw=SLOW_MBIT))
    nets = bring_up(plan)
    (meter,) = (m for m in plan.meters if (m.nic, m.direction) == ("h4/h4-eth0", "in"))
    leaves = {senders[0]: int(classid, 16) for classid, senders in meter.leaves.items()}
    assert sorted(leaves) == ["h1/h1-eth0", "h2/h2-eth0", "h3/h3-eth0"]
    with Counters([meter], nets) as counters, Pump(nets) as pump:
        for sender, flows in (("h1", 1), ("h2", 1), ("h3", 6)):
            for _ in range(flows):
                pump.stream(sender, "h4", address(plan, "h4", "h4-eth0"))

        def seen() -> dict[int, int]:
            return leaf_bytes(counters, meter.nic, meter.direction)

        pump.until(lambda: min(seen()[leaf] for leaf in leaves.values()) > STARTED_BYTES)
        before = seen()
        pump.until(lambda: sum(seen().values()) - sum(before.values()) > COUNTED_BYTES)
        after = seen()
        sample = counters.sample()[0]
    shares = [after[leaf] - before[leaf] for leaf in leaves.values()]
    assert jain(shares) > 0.9, shares  # by flows it would be 0.56
    assert sample.drops == 0


def test_fifo_shares_by_what_each_sender_queues(bring_up: BringUp) -> None:
    # h1 (1 flow), h2 (1), h3 (6) -- s1 -- h4, 5 Mbit
    plan = compile_plan(SingleTopo(k=4, bw=SLOW_MBIT), PlanSettings(arbitration="fifo"))
    nets = bring_up(plan)
    out = [m for m in plan.meters if m.direction == "out" and m.nic != "h4/h4-eth0"]
    with Counters(out, nets) as counters, Pump(nets) as pump:
        for sender, flows in (("h1", 1), ("h2", 1), ("h3", 6)):
            for _ in range(flows):
                pump.stream(sender, "h4", address(plan, "h4", "h4-eth0"))

        def sent() -> list[int]:
            return [sample.bytes for sample in counters.sample()]

        pump.until(lambda: min(sent()) > STARTED_BYTES)
        before = sent()
        pump.until(lambda: sum(sent()) - sum(before) > COUNTED_BYTES)
        shares = [b - a for a, b in zip(before, sent(), strict=True)]
    assert shares[2] > 2 * max(shares[:2]), shares


# --- lanes -------------------------------------------------------------------------------------


def test_a_full_model_lane_leaves_the_kv_lane_its_hundredth(bring_up: BringUp) -> None:
    # h1 -- s1 -- h2, 5 Mbit
    plan = compile_plan(SingleTopo(k=2, bw=SLOW_MBIT))
    nets = bring_up(plan)
    (meter,) = (m for m in plan.meters if (m.nic, m.direction) == ("h1/h1-eth0", "out"))
    to = address(plan, "h2", "h2-eth0")
    with Counters([meter], nets) as counters:

        def kv_bps(pump: Pump) -> tuple[float, float]:
            """What the kv lane carries while the pump runs, and its share."""
            (begun,) = counters.sample()
            start = begun.bytes + STARTED_BYTES
            pump.until(lambda: counters.sample()[0].bytes > start)
            (before,) = counters.sample()
            pump.until(lambda: counters.sample()[0].bytes > before.bytes + COUNTED_BYTES)
            (after,) = counters.sample()
            grown = after.lanes["kv"].bytes - before.lanes["kv"].bytes
            return (
                grown * 8 / (after.t_s - before.t_s), grown / (after.bytes - before.bytes)
            )  # fmt: skip

        with Pump(nets) as pump:
            pump.datagrams("h1", "h2", to, MODEL_TOS)
            _, none = kv_bps(pump)
        with Pump(nets) as idle:  # what is queued of it leaves first
            idle.until(lambda: counters.sample()[0].backlog_packets == 0)
        with Pump(nets) as pump:
            pump.datagrams("h1", "h2", to, KV_TOS)
            alone_bps, alone = kv_bps(pump)
            pump.datagrams("h1", "h2", to, MODEL_TOS)
            beside_bps, beside = kv_bps(pump)
        assert counters.sample()[0].drops == 0
    # Alone either has the whole line: also the kv lane, not its hundredth.
    assert (none, alone) == (0, 1)
    assert 0.002 < beside < 0.05
    assert alone_bps > 10 * beside_bps


# --- networks apart ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "sender", "device", "receiver"),
    [("snic", "st0", "snic0", "pe0"), ("cnic", "pe0", "cnic0", "de0")],
)
def test_storage_and_compute_do_not_meet(
    kind: str, sender: str, device: str, receiver: str, bring_up: BringUp
) -> None:
    # st0 ══ [storage] ══ pe0 ── [pe0c0] ── [compute] ── [de0c0] ── de0, 5 Mbit
    plan = compile_plan(DualPathTopo(gpus=1, cnic_mbit=SLOW_MBIT))
    nets = bring_up(plan)
    with Counters(plan.meters, nets) as counters, Pump(nets) as pump:
        before = samples(counters)
        for _ in range(4):
            pump.stream(sender, receiver, address(plan, receiver, device))

        def moved() -> dict[str, int]:
            """Bytes by kind of NIC."""
            found: dict[str, int] = {}
            for nic, sample in samples(counters).items():
                grown = sample.bytes - before[nic].bytes
                found[sample.kind] = found.get(sample.kind, 0) + grown
            return found

        pump.until(lambda: moved()[kind] > 2 * STARTED_BYTES)
        seen = moved()
        drops = [sample.drops for sample in counters.sample()]
    assert {name for name, size in seen.items() if size} == {kind}
    assert not any(drops)


def test_compute_cannot_be_reached_from_storage(bring_up: BringUp) -> None:
    # st0 ══ [storage] ══ pe0 ── [pe0c0] ── [compute] ── [de0c0] ── de0
    plan = compile_plan(DualPathTopo(gpus=1))
    nets = bring_up(plan)
    with inside(nets["st0"]):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with contextlib.closing(sock), pytest.raises(OSError) as refused:
        sock.sendto(b"x", (address(plan, "de0", "cnic0"), 9))
    assert refused.value.errno == errno.ENETUNREACH


# --- routes ------------------------------------------------------------------------------------


class Post:
    """Sends single datagrams through a cluster, and says by which NICs they went."""

    def __init__(self, plan: Plan, nets: Mapping[str, int], counters: Counters) -> None:
        self._plan, self._nets, self._counters = plan, nets, counters

    def send(
        self, sender: str, receiver: str, device: str, bound: str = ""
    ) -> tuple[str, dict[Nic, int]]:
        """The source that the receiver saw, and the packets that each NIC carried.

        Args:
            sender, receiver: domains.
            device: of the receiver's address.
            bound: the sender's device whose address its socket is bound to.
        """
        before = samples(self._counters)
        with self._socket(receiver) as there, self._socket(sender) as here:
            there.bind((address(self._plan, receiver, device), 0))
            if bound:
                here.bind((address(self._plan, sender, bound), 0))
            here.sendto(b"which way?", there.getsockname())
            _, (source, _) = there.recvfrom(100)
        after = samples(self._counters)
        grown = {nic: sample.packets - before[nic].packets for nic, sample in after.items()}
        return source, {nic: packets for nic, packets in grown.items() if packets}

    def _socket(self, namespace: str) -> socket.socket:
        with inside(self._nets[namespace]):
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.settimeout(20)
        return made


def test_every_address_of_a_node_has_a_way_of_its_own(bring_up: BringUp) -> None:
    # pe0, pe0g0, pe0g1 ── [pe0c0], [pe0c1] ── [compute] ── [de0c0], [de0c1] ── de0, de0g0, de0g1
    plan = compile_plan(DualPathTopo(gpus=2))
    nets = bring_up(plan)
    others = [("de0", 0), ("de0", 1), ("de0g0", 0), ("de0g1", 1), ("pe0g0", 0), ("pe0g1", 1)]
    with Counters(plan.meters, nets) as counters:
        post = Post(plan, nets, counters)
        for receiver, rail in others:
            there = (f"{plan.domains[receiver].node}/cnic{rail}", "write")
            for mine in (0, 1):  # bind() decides
                way = post.send("pe0", receiver, f"cnic{rail}", bound=f"cnic{mine}")
                expected = {(f"pe0/cnic{mine}", "read"): 1, there: 1}
                assert way == (address(plan, "pe0", f"cnic{mine}"), expected)
            # Unbound it is the CNIC of the receiver's rail, with that port's address.
            way = post.send("pe0", receiver, f"cnic{rail}")
            expected = {(f"pe0/cnic{rail}", "read"): 1, there: 1}
            assert way == (address(plan, "pe0", f"cnic{rail}"), expected)
        # An HBM domain has its own CNIC only.
        for receiver, rail in (("de0g0", 0), ("de0", 1), ("pe0g0", 0), ("pe0", 1)):
            there = (f"{plan.domains[receiver].node}/cnic{rail}", "write")
            way = post.send("pe0g1", receiver, f"cnic{rail}")
            assert way == (
                address(plan, "pe0g1", "cnic1"), {("pe0/cnic1", "read"): 1, there: 1}
            )  # fmt: skip
        # The other networks are by their own ports.
        for device, nic in (("snic0", "snic0"), ("mgmt", "mgmt")):
            way = post.send("pe0", "st0", device)
            expected = {(f"pe0/{nic}", "out"): 1, (f"st0/{nic}", "in"): 1}
            assert way == (address(plan, "pe0", device), expected)


# --- what is not made --------------------------------------------------------------------------


def test_no_ifb_is_made_that_the_plan_does_not_name(bring_up: BringUp) -> None:
    # pe0, pe0g0 ── [pe0c0] ── [compute] ── [de0c0] ── de0, de0g0: loading ifb makes ifb0, ifb1
    def ifbs(process: int) -> set[str]:
        lines = Path(f"/proc/{process}/net/dev").read_text().splitlines()[2:]
        return {name for line in lines if (name := line.split(":")[0].strip()).startswith("ifb")}

    host, own = ifbs(os.getppid()), ifbs(os.getpid())
    plan = compile_plan(DualPathTopo(gpus=1))
    nets = bring_up(plan)
    assert ifbs(os.getppid()) == host
    assert ifbs(os.getpid()) == own
    with Counters([], nets) as counters:
        links = counters.links()
    assert not [name for devices in links.values() for name in devices if name.startswith("ifb")]
