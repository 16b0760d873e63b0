"""What crosses the NICs of a running cluster, captured there and dissected.

    storage ══ pe0 (2 engines) ══ compute fabric ══ de0 (2 engines) ══ storage

Both read paths are taken.  Every NIC of every domain is captured, so each transfer is seen twice.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import NamedTuple

import msgspec
import pytest
from scapy.layers.inet import IP, TCP

from agents import cluster as cluster_file
from agents.cluster import Cluster
from agents.control.messages import AnyMessage
from agents.dissect import Flow, Stream, messages, streams
from agents.ports import DATA_PORT
from agents.records import RequestRecord, TransferRecord
from agents.settings import DualPathScenario
from agents.wire.header import HEADER_BYTES, HELLO, LANES, MAGIC, PATHS, WRITE
from agents.wire.immediates import unpack
from testbed.experiment import runner
from testbed.experiment.runner import Ran
from testbed.experiment.scenario import load_scenario
from testbed.plan.lanes import KV_TOS, MODEL_TOS
from tests.e2e.captures import Capturing, Frame, captured, lost
from tests.e2e.test_read_paths import failed_checks

POLICY = "round-robin"
# Slow links: what crosses them is read back frame by frame.
SLOW = f"""
name: captured
topology: {{name: 1p1d, set: {{gpus: 2}}}}
scale: {{rate: 16000, bytes: 4000}}
duration: 2s
calibration: false
engines: network-only
workload: {{kind: agentic, trace: 32k, agents: 4}}
window: {{warm_up: 500ms, warm_up_turns: 0, tolerance: 0.9}}
network: {{gso_max: 64KiB}}
policies: [{POLICY}]
"""
STORAGE_KINDS = {"storage_read", "digests", "storage_write"}
DATA_DOMAINS = ["pe0", "de0", "st0", "pe0g0", "pe0g1", "de0g0", "de0g1"]
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
    cluster: Cluster
    requests: dict[int, RequestRecord]
    frames: list[Frame]
    streams: dict[tuple[str, str], dict[Flow, Stream]]  # (process, device) -> its connections


pytestmark = pytest.mark.xdist_group("captures")  # its fixtures are dear


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    directory = tmp_path_factory.mktemp("captures")
    scenario = load_scenario(SLOW, DualPathScenario)
    ran = runner.run(scenario, Capturing(), directory, lambda progress: None)
    assert failed_checks(ran) == {}
    place = directory / "records" / POLICY
    nics = {
        f"{domain.name} {device}"
        for domain in ran.plan.domains.values()
        for device in domain.addresses
    }
    assert lost(place) == dict.fromkeys(nics, 0)  # every NIC was captured, and every frame
    frames = list(captured(place))
    by_nic = defaultdict(list)
    for frame in frames:
        by_nic[frame.process, frame.device].append(frame.packet)
    requests: list[RequestRecord] = ran.outcomes[POLICY].tables["requests"]  # type: ignore[assignment]
    return Capture(
        ran,
        cluster_file.read(place / "cluster.json"),
        {request.request: request for request in requests},
        frames,
        {nic: streams(packets) for nic, packets in by_nic.items()},
    )


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


def writes(capture: Capture, domain: str) -> list[tuple[str, Seen]]:
    """All that crossed the NICs of a domain, each with the device."""
    owner = owners(capture)
    found = []
    for at, device, flow, stream in data_streams(capture):
        if at != domain:
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
                found.append((device, seen))
    return found


def ends(capture: Capture, write: Seen) -> tuple[str, str, str]:
    """The path, source and target that a write has by the scheduler's word on its request."""
    if write.kind == "storage_write":
        return "none", "de0", "st0"  # numbered by the put: several requests may share a block
    request = capture.requests[write.request]
    reader = {"pe": "pe0", "de": "de0"}.get(request.path, "")
    source, target = {
        "storage_read": ("st0", reader),
        "digests": ("st0", reader),
        "layer_load": ("pe0", request.prefill),
        "layer_fetch": ("de0", request.prefill),
        "kv_return": (request.prefill, "de0"),
        "h2d": ("de0", request.decode),
        "d2h": (request.decode, "de0"),
    }[write.kind]
    return request.path, source, target


def nic_for(capture: Capture, domain: str, write: Seen) -> str:
    """The device of a domain that a write is to cross.

    A CNIC is that of the engine on the domain's own node, also where the other end of the wire
    is on another rail.
    """
    if write.kind in STORAGE_KINDS:
        return "snic0"
    domains = capture.ran.plan.domains
    request = capture.requests[write.request]
    [engine] = {
        e for e in (request.prefill, request.decode) if domains[e].node == domains[domain].node
    }
    [device] = domains[engine].addresses
    return device


def test_nothing_but_tcp_between_planned_addresses_is_on_the_wires(capture: Capture) -> None:
    owner = owners(capture)
    for frame in capture.frames:
        assert IP in frame.packet and TCP in frame.packet, frame.packet.summary()
        addresses = {frame.packet[IP].src, frame.packet[IP].dst}
        assert addresses <= owner.keys()
        assert capture.ran.plan.domains[frame.process].addresses[frame.device] in addresses
        assert frame.packet[IP].tos != MODEL_TOS  # no model traffic is in this run


def test_every_segment_of_the_data_networks_is_in_the_kv_lane(capture: Capture) -> None:
    """Requests and replies, handshakes and bare acknowledgements too."""
    seen = Counter(
        frame.packet[IP].tos for frame in capture.frames if not frame.device.startswith("mgmt")
    )
    assert set(seen) == {KV_TOS}
    kinds = {str(frame.packet[TCP].flags) for frame in capture.frames if frame.device != "mgmt"}
    assert {"S", "SA", "A"} <= kinds


def test_both_ends_see_the_same_bytes_and_no_third_domain_does(capture: Capture) -> None:
    owner = owners(capture)
    seen = defaultdict(dict)
    for (domain, _), found in capture.streams.items():
        for flow, stream in found.items():
            seen[flow][domain] = stream.data
    assert seen
    for flow, by_domain in seen.items():
        assert by_domain.keys() == {owner[flow.source], owner[flow.target]}
        assert len(set(by_domain.values())) == 1


def test_every_stream_begins_with_a_hello_and_counts_its_messages(capture: Capture) -> None:
    found = data_streams(capture)
    assert found
    for _, _, flow, stream in found:
        # Whole messages to the last byte: a run ends when all it had begun is done.
        assert sum(HEADER_BYTES + m.length for m in messages(stream.data)) == len(stream.data)
        for number, message in enumerate(messages(stream.data)):
            assert message.lane == LANES["kv"]
            first = number == 0 and flow.target_port == DATA_PORT
            assert message.kind == (HELLO if first else WRITE)
            assert message.sequence == number & 0xFFFF


@pytest.mark.parametrize("domain", DATA_DOMAINS)
def test_every_transfer_is_seen_with_its_request_layers_and_path(
    capture: Capture, domain: str
) -> None:
    records: list[TransferRecord] = capture.ran.outcomes[POLICY].tables["transfers"]  # type: ignore[assignment]
    recorded = Counter(
        Seen(*(getattr(record, field) for field in Seen._fields))
        for record in records
        if domain in (record.source, record.target)
    )
    assert Counter(write for _, write in writes(capture, domain)) == recorded
    assert recorded


@pytest.mark.parametrize("domain", DATA_DOMAINS)
def test_every_transfer_goes_the_way_of_its_request(capture: Capture, domain: str) -> None:
    """Over the right NIC, between the right domains: no read by one path meets the other's."""
    crossed = Counter()
    for device, write in writes(capture, domain):
        assert (write.path, write.source, write.target) == ends(capture, write), write
        assert device == nic_for(capture, domain, write), write
        crossed[device, write.path, write.kind] += 1
    assert crossed
    reads = {path for _, path, kind in crossed if kind in ("storage_read", "digests")}
    assert reads == {"pe0": {"pe"}, "de0": {"de"}, "st0": {"pe", "de"}}.get(domain, set())


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


def test_the_management_network_carries_control_messages_only(capture: Capture) -> None:
    """Each is as its type says and no more, and small beside the KV that it speaks of."""
    decoder = msgspec.msgpack.Decoder(AnyMessage)
    kinds = set()
    for (_, device), found in capture.streams.items():
        for stream in found.values() if device == "mgmt" else ():
            at = 0
            while at < len(stream.data):
                end = at + 4 + int.from_bytes(stream.data[at : at + 4], "big")
                assert end <= len(stream.data)
                body = stream.data[at + 4 : end]
                message = decoder.decode(body)
                assert msgspec.msgpack.encode(message) == body  # no field that it does not have
                fields = msgspec.structs.asdict(message).items()
                data = {name: value for name, value in fields if type(value) is bytes and value}
                assert data.keys() <= {"hashes"}
                # A Layer Block of this scale is a few bytes: what it is cut from is the measure.
                named = sum(map(len, data.values()))
                assert len(body) - named < capture.cluster.layout.full_block_bytes
                kinds.add(type(message).__name__)
                at = end
    assert {"Submit", "Assign", "Read", "Done"} <= kinds
