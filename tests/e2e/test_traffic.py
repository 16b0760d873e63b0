"""Model execution as real bytes, in a lane of its own beside KV; and the other two traffic modes.

    pe0 (2 engines) ══ compute fabric ══ pe1 (2 engines), de0     all-to-all of the prefill role
    pe0g0 ══ NVLink ══ pe0g1                                      and on, inside each node

Every NIC of every domain is captured.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import pytest
from scapy.layers.inet import IP

from agents.accounts import carried_bytes
from agents.dissect import messages, streams
from agents.ports import DATA_PORT
from agents.records import (
    AccountRecord,
    CollectiveRecord,
    RequestRecord,
    TransferRecord,
    read_records,
)
from agents.settings import DualPathScenario
from agents.traces.session import BLOCK_TOKENS
from agents.traffic.submission import COPY_ENGINE_S
from agents.wire.header import LANES
from agents.workload import DualPath
from testbed.experiment import runner
from testbed.experiment.runner import Ran
from testbed.experiment.scenario import load_scenario
from testbed.fidelity.checks import ACCOUNT_BYTES, ACCOUNT_SHARE
from testbed.kernel.samples import FRAME_HEADER_BYTES
from testbed.plan.lanes import KV_TOS, MODEL_TOS
from tests.e2e.captures import Capturing, Frame, captured
from tests.e2e.test_read_paths import failed_checks

POLICY = "shorter-queue"
SMALL = """
name: traffic
topology: {{name: {preset}, set: {{gpus: 2}}}}
scale: {{rate: 8000, bytes: 4000}}
duration: 2s
calibration: false
engines: {engines}
cluster: {{nvlink: {nvlink}}}
workload: {{kind: agentic, trace: 32k, agents: 4, generation_scale: 0.2}}
window: {{warm_up: 500ms, warm_up_turns: 0, tolerance: 0.9}}
traffic: {traffic}
policies: [{policy}]
"""
MODEL_KINDS = {"dispatch", "forward", "gather", "combine"}


def run(directory: Path, workload: DualPath | None = None, **values: object) -> Ran:
    filled = {
        "preset": "1p1d", "engines": "network-only", "nvlink": "null", "policy": POLICY, **values,
    }  # fmt: skip
    scenario = load_scenario(SMALL.format(**filled), DualPathScenario)
    return runner.run(scenario, workload or DualPath(), directory, lambda progress: None)


class Seen(NamedTuple):
    """A run with collectives, and what was on its wires."""

    ran: Ran
    accounts: list[AccountRecord]
    collectives: list[CollectiveRecord]
    transfers: list[TransferRecord]
    frames: list[Frame]


pytestmark = pytest.mark.xdist_group("traffic")  # its fixtures are dear


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    directory = tmp_path_factory.mktemp("traffic")
    ran = run(
        directory, Capturing(), preset="2p1d", engines="modelled", nvlink="1600Gbit",
        traffic="{collectives: true}",
    )  # fmt: skip
    place = directory / "records" / POLICY
    records = [r for file in place.glob("*.records") for r in read_records(file)]
    return Seen(
        ran,
        [r for r in records if isinstance(r, AccountRecord)],
        [r for r in records if isinstance(r, CollectiveRecord)],
        [r for r in records if isinstance(r, TransferRecord)],
        list(captured(place)),
    )


def test_a_run_with_collectives_passes_its_checks(seen: Seen) -> None:
    assert failed_checks(seen.ran) == {}  # kernel and accounts agree on NVLink too
    figures = seen.ran.outcomes[POLICY].summary["collectives"]
    assert figures["prefill"]["count"] > 0
    assert seen.ran.prediction["collectives"]["prefill"]["layers"] >= 1


def test_the_kernel_counts_each_lane_as_the_agents_do(seen: Seen) -> None:
    samples = seen.ran.series[POLICY].counted.samples
    for lane in ("model", "kv"):
        said = carried_bytes(seen.accounts, lane)
        assert any("nvl" in nic for nic, _ in said) == (lane == "model")
        carrying = 0
        for first, last in zip(samples[0], samples[-1], strict=True):
            if last.kind not in ("snic", "cnic", "nvlink"):
                continue
            before, after = first.lanes[lane], last.lanes[lane]
            headers = (after.packets - before.packets) * FRAME_HEADER_BYTES
            found = after.bytes - before.bytes - headers
            told = said.get((last.nic, last.direction), 0.0)
            apart = abs(found - told)
            assert apart <= max(ACCOUNT_BYTES, ACCOUNT_SHARE * told), (last.nic, last.direction)
            carrying += told > 2 * ACCOUNT_BYTES
        assert carrying > 0


def test_collectives_go_by_same_rails_between_nodes_and_by_nvlink_inside(seen: Seen) -> None:
    ways = {(t.kind, t.source, t.target) for t in seen.transfers if t.kind in MODEL_KINDS}
    assert {kind for kind, _, _ in ways} == MODEL_KINDS
    for kind, source, target in ways:
        together = source.partition("g")[0] == target.partition("g")[0]
        if not together:
            assert source[-1] == target[-1]
            assert kind in ("dispatch", "combine")
        assert together or "de0" not in source + target
    assert {t.request for t in seen.transfers if t.kind == "combine"} >= {
        c.number for c in seen.collectives
    }
    for record in seen.collectives:
        assert record.t_start < record.t_dispatched < record.t_end
        assert record.engines == (4 if record.engine.startswith("pe") else 2)
    assert len({c.number for c in seen.collectives}) == len(seen.collectives)


def test_the_model_lane_is_marked_on_every_segment_and_nothing_else_is(seen: Seen) -> None:
    gpus = {
        address: domain.name
        for domain in seen.ran.plan.domains.values()
        for address in domain.addresses.values()
        if domain.kind == "hbm"
    }
    by_nic = defaultdict(list)
    for frame in seen.frames:
        ip = frame.packet[IP]
        between_gpus = ip.src in gpus and ip.dst in gpus
        if frame.device.startswith("mgmt"):
            continue
        assert ip.tos == (MODEL_TOS if between_gpus else KV_TOS)  # handshakes and ACKs too
        by_nic[frame.process, frame.device].append(frame.packet)
    found = set()
    for (domain, device), packets in by_nic.items():
        for flow, stream in streams(packets).items():
            if DATA_PORT not in (flow.source_port, flow.target_port):
                continue
            lane = "model" if flow.source in gpus and flow.target in gpus else "kv"
            assert {m.lane for m in messages(stream.data)} <= {LANES[lane]}
            if lane == "model":
                found.add(device)
                assert seen.ran.plan.domains[domain].kind == "hbm"
    assert found == {"cnic0", "cnic1", "nvl"}


def test_without_lanes_all_is_in_one(tmp_path: Path) -> None:
    ran = run(
        tmp_path, preset="2p1d", engines="modelled",
        traffic="{mode: no-lanes, collectives: true}",
    )  # fmt: skip
    assert failed_checks(ran) == {}
    assert all(
        set(m.lanes) == {"kv", "unclassified"} for m in ran.series[POLICY].counted.samples[-1]
    )
    assert ran.outcomes[POLICY].summary["collectives"]["prefill"]["count"] > 0


def test_direct_traffic_leaves_cnics_to_other_nodes(tmp_path: Path) -> None:
    ran = run(tmp_path, traffic="direct", policy="pe-only")
    assert failed_checks(ran) == {}
    carried = {(m.nic, m.direction): m.bytes for m in ran.series["pe-only"].counted.samples[-1]}
    # The hit KV goes into prefill HBM and all KV into decode HBM by PCIe ...
    for nic in ("pe0/pcie0", "pe0/pcie1", "de0/pcie0", "de0/pcie1"):
        assert carried[nic, "out"] > 2 * ACCOUNT_BYTES
    # ... so that what prefill CNICs write, and decode CNICs read, is acknowledgements.
    for nic, direction in (("pe0/cnic0", "write"), ("de0/cnic0", "read")):
        other = {"write": "read", "read": "write"}[direction]
        assert carried[nic, direction] < 0.05 * carried[nic, other]


def test_a_submission_takes_its_time(tmp_path: Path) -> None:
    ran = run(tmp_path, traffic="{mode: direct, submission_cost: true}", policy="pe-only")
    assert failed_checks(ran) == {}
    scenario = load_scenario(
        SMALL.format(preset="1p1d", engines="network-only", nvlink="null", policy="pe-only",
                     traffic="direct"),
        DualPathScenario,
    )  # fmt: skip
    block_s = COPY_ENGINE_S * scenario.realised_scale.stretch
    requests: list[RequestRecord] = ran.outcomes["pe-only"].tables["requests"]  # type: ignore[assignment]
    assert requests
    for request in requests:  # a copy engine takes every Layer Block of the prompt on its own
        blocks = -(-request.prompt_tokens // BLOCK_TOKENS) * scenario.layout.layers
        assert request.t_decode_start - request.t_first_token >= 0.99 * blocks * block_s
