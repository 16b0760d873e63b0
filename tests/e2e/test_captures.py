"""What crosses the NICs of a running cluster, captured there and dissected.

    storage ══ pe0 (2 engines) ══ compute fabric ══ de0 (2 engines) ══ storage

Both read paths are taken.  Every transfer has an end in a DRAM domain, where it is captured.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import NamedTuple

import pytest
from scapy.layers.inet import IP, TCP

from agents.dissect import Flow, Stream, messages, streams
from agents.ports import DATA_PORT
from agents.records import TransferRecord
from agents.settings import DualPathScenario
from agents.wire.header import HELLO, LANES, MAGIC, PATHS, WRITE
from agents.wire.immediates import unpack
from testbed.experiment import runner
from testbed.experiment.runner import Ran
from testbed.experiment.scenario import load_scenario
from testbed.plan.lanes import KV_TOS
from tests.e2e.captures import Capturing, Frame, captured, lost
from tests.e2e.test_read_paths import failed_checks

POLICY = "round-robin"
# Slow links: what crosses them is read back frame by frame.
SLOW = f"""
name: captured
topology: {{name: 1p1d, set: {{gpus: 2}}}}
scale: {{rate: 16000, bytes: 4000}}
duration: 3s
engines: network-only
workload: {{kind: agentic, trace: 32k, agents: 4}}
window: {{warm_up: 1s, warm_up_turns: 0, tolerance: 0.9}}
network: {{gso_max: 64KiB}}
policies: [{POLICY}]
"""
STORAGE_KINDS = {"storage_read", "digests", "storage_write"}
PATH_NAMES = {number: name for name, number in PATHS.items()}


class Seen(NamedTuple):
    """One write as it was seen on a NIC; the first fields are those of a `TransferRecord`."""

    request: int
    kind: str
    path: str
    source: str
    target: str
    layer_first: int
    layer_count: int
    size_bytes: int


class Capture(NamedTuple):
    """All captures of one run."""

    ran: Ran
    frames: list[Frame]
    streams: dict[tuple[str, str], dict[Flow, Stream]]  # (process, device) -> its connections


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    directory = tmp_path_factory.mktemp("captures")
    scenario = load_scenario(SLOW, DualPathScenario)
    ran = runner.run(scenario, Capturing(), directory, lambda progress: None)
    assert failed_checks(ran) == {}
    place = directory / "records" / POLICY
    taps = lost(place)
    assert len(taps) >= 11 and not any(taps.values())  # every NIC of every DRAM domain, no loss
    frames = list(captured(place))
    by_nic = defaultdict(list)
    for frame in frames:
        by_nic[frame.process, frame.device].append(frame.packet)
    return Capture(ran, frames, {nic: streams(packets) for nic, packets in by_nic.items()})


def data_streams(capture: Capture) -> list[tuple[str, str, Flow, Stream]]:
    """Every direction of every queue pair, as each end saw it."""
    return [
        (process, device, flow, stream)
        for (process, device), found in capture.streams.items()
        for flow, stream in found.items()
        if DATA_PORT in (flow.source_port, flow.target_port)
    ]


def owners(capture: Capture) -> dict[str, str]:
    """Address -> domain."""
    return {
        address: domain.name
        for domain in capture.ran.plan.domains.values()
        for address in domain.addresses.values()
    }


def writes(capture: Capture, process: str) -> list[Seen]:
    """All that crossed the NICs of a process's own domain."""
    owner = owners(capture)
    found = []
    for at, _, flow, stream in data_streams(capture):
        if at != process:
            continue
        for message in messages(stream.data):
            if message.kind == WRITE:
                what = unpack(message.immediate)
                assert what.number == message.request
                seen = Seen(
                    message.request, what.kind.name.lower(), PATH_NAMES[message.path],
                    owner[flow.source], owner[flow.target],
                    message.layer_first, message.layer_count, message.length,
                )  # fmt: skip
                found.append(seen)
    return found


def test_nothing_but_tcp_between_planned_addresses_is_on_the_wires(capture: Capture) -> None:
    owner = owners(capture)
    for frame in capture.frames:
        assert IP in frame.packet and TCP in frame.packet, frame.packet.summary()
        assert {frame.packet[IP].src, frame.packet[IP].dst} <= owner.keys()


def test_every_segment_of_the_data_networks_is_in_the_kv_lane(capture: Capture) -> None:
    """Requests and replies, handshakes and bare acknowledgements too."""
    seen = Counter(
        frame.packet[IP].tos for frame in capture.frames if not frame.device.startswith("mgmt")
    )
    assert set(seen) == {KV_TOS}
    kinds = {str(frame.packet[TCP].flags) for frame in capture.frames if frame.device != "mgmt"}
    assert {"S", "SA", "A"} <= kinds


def test_every_stream_begins_with_a_hello_and_counts_its_messages(capture: Capture) -> None:
    found = data_streams(capture)
    assert found
    for _, _, flow, stream in found:
        for number, message in enumerate(messages(stream.data)):
            assert message.lane == LANES["kv"]
            first = number == 0 and flow.target_port == DATA_PORT
            assert message.kind == (HELLO if first else WRITE)
            assert message.sequence == number & 0xFFFF


@pytest.mark.parametrize("process", ["pe0", "de0", "st0"])
def test_every_transfer_is_seen_with_its_request_layers_and_path(
    capture: Capture, process: str
) -> None:
    records: list[TransferRecord] = capture.ran.outcomes[POLICY].tables["transfers"]  # type: ignore[assignment]
    recorded = Counter(
        Seen(
            r.request,
            r.kind,
            r.path,
            r.source,
            r.target,
            r.layer_first,
            r.layer_count,
            r.size_bytes,
        )
        for r in records
        if process in (r.source, r.target)
    )
    seen = Counter(writes(capture, process))
    assert seen == recorded
    assert recorded


@pytest.mark.parametrize("process", ["pe0", "de0", "st0"])
def test_storage_traffic_crosses_snics_and_all_other_kv_crosses_cnics(
    capture: Capture, process: str
) -> None:
    addresses = capture.ran.plan.domains[process].addresses
    for at, device, flow, stream in data_streams(capture):
        if at != process:
            continue
        assert addresses[device] in (flow.source, flow.target)  # its own port, and no other's
        kinds = {
            unpack(message.immediate).kind.name.lower()
            for message in messages(stream.data)
            if message.kind == WRITE
        }
        if device == "snic0":
            assert kinds <= STORAGE_KINDS
        else:
            assert device.startswith("cnic") and not kinds & STORAGE_KINDS


def test_each_path_reads_through_its_own_side(capture: Capture) -> None:
    sides = defaultdict(set)
    for process in ("pe0", "de0"):
        for write in writes(capture, process):
            if write.kind == "storage_read":
                sides[write.path].add(write.target)
    assert sides == {"pe": {"pe0"}, "de": {"de0"}}


def test_no_kv_is_on_the_management_network(capture: Capture) -> None:
    """Neither headers nor bytes of blocks; only the processes' messages."""
    control = [
        stream.data
        for (_, device), found in capture.streams.items()
        for stream in found.values()
        if device == "mgmt"
    ]
    payloads = [
        bytes(message.payload)
        for _, _, _, stream in data_streams(capture)
        for message in messages(stream.data)
        if message.kind == WRITE and message.length >= 4096
    ]
    assert control and payloads
    for data in control:
        assert MAGIC.to_bytes(4, "big") not in data
    everything = b"".join(control)
    for payload in payloads[:: max(1, len(payloads) // 50)]:
        assert payload[1024:1056] not in everything
