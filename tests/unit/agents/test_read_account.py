"""What storage sent is what arrived, and each byte is of a request: else it is noticed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agents.numbers import try_number
from agents.read_account import ReadAccount, read_account
from agents.recorded import Run
from agents.records import EventRecord, RequestRecord, StorageRecord, TransferRecord
from agents.settings import DualPathScenario
from agents.summary import summarise
from testbed.experiment.scenario import load_scenario
from testbed.plan.model import Plan
from tests.unit.agents.test_checks import SCENARIO, request


def transfer(number: int, size: int, kind: str = "storage_read") -> TransferRecord:
    return TransferRecord(number, kind, "pe", "st0", "pe0", 0, 0, size, 1.0, 2.0)


def run(
    transfers: list[TransferRecord],
    requests: list[RequestRecord],
    sent: int,
    under_way: int = 0,
) -> Run:
    """A run with one storage node."""
    stored = StorageRecord("st0", 0, 0, 0, 0, sent_bytes=sent, under_way_bytes=under_way)
    records: dict[type, list[Any]] = {
        TransferRecord: list(transfers),
        RequestRecord: list(requests),
        StorageRecord: [stored],
        EventRecord: [],
    }
    scenario = load_scenario(SCENARIO, DualPathScenario)
    return Run(scenario, Plan(frozenset(), "1p1d"), "pe-only", records, [[]], {})


# Request 7 was read again in a second try, request 8 failed, request 9 had part from a cache.
READS = [
    transfer(7, 100),
    transfer(try_number(7, 2), 90),
    transfer(8, 20),
    transfer(9, 5),
    transfer(9, 40, "peer_read"),
]
REQUESTS = [
    request(7, attempts=2, read_bytes=90),
    request(8, error="wrong bytes", read_bytes=0),
    request(9, read_bytes=45),
]


def test_every_byte_is_of_a_try_that_ended_well_or_was_given_up() -> None:
    account = read_account(run(READS, REQUESTS, sent=215))
    assert account == ReadAccount(215, 0, 95, 120, 0, 95, 40, 135)
    assert account.wrong() == ""
    assert summarise(run(READS, REQUESTS, sent=215))["bytes_given_up"] == 120
    assert summarise(run(READS, REQUESTS, sent=215))["requests_retried"] == 1


@pytest.mark.parametrize("sent", [214, 216])
def test_a_byte_more_or_less_than_was_sent_is_noticed(sent: int) -> None:
    assert "and 215 arrived" in read_account(run(READS, REQUESTS, sent)).wrong()


def test_what_was_under_way_at_the_end_may_have_arrived_or_not() -> None:
    assert read_account(run(READS, REQUESTS, 225, 10)).wrong() == ""
    assert read_account(run(READS, REQUESTS, 215, 10)).wrong() == ""
    assert read_account(run(READS, REQUESTS, 226, 10)).wrong() != ""


def test_bytes_of_no_request_are_noticed() -> None:
    found = read_account(run([*READS, transfer(10, 3)], REQUESTS, sent=218))
    assert found.strange == 3
    assert "for no request" in found.wrong()


def test_an_engine_that_claims_other_bytes_is_noticed() -> None:
    requests = [msgspec.structs.replace(REQUESTS[0], read_bytes=91), *REQUESTS[1:]]
    assert "have read 136" in read_account(run(READS, requests, sent=215)).wrong()


def test_what_lost_nodes_sent_and_received_is_left_out_on_both_sides() -> None:
    """Request 6 ended well on pe1 and de0, then pe1 was lost, and some of its records with it."""
    there, gone = transfer(6, 30), transfer(6, 60)
    gone = msgspec.structs.replace(gone, target="pe1")
    other = request(6, prefill="pe1g0", decode="de0g0", read_bytes=100)
    seen = run([*READS, there, gone], [*REQUESTS, other], sent=215 + 30)
    seen.records[EventRecord].append(EventRecord("sched", 1.0, "node-lost", 0, "pe1: silent"))  # type: ignore[index]
    assert read_account(seen).wrong() == ""
    # Storage that was lost later: its record is gone, what came of it before is right.
    late = msgspec.structs.replace(transfer(9, 7), source="st1")
    more = [*REQUESTS[:2], msgspec.structs.replace(REQUESTS[2], read_bytes=52)]
    seen = run([*READS, late], more, sent=215)
    seen.records[EventRecord].append(EventRecord("sched", 1.0, "node-lost", 0, "st1: silent"))  # type: ignore[index]
    assert read_account(seen).wrong() == ""
