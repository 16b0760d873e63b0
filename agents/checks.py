"""What only the agents can check: that every byte was the right one, and every request ended."""

from __future__ import annotations

import math

from agents import idle_overhead
from agents.binding import bound_by
from agents.fault_checks import OF_FAULTS, faults_ended
from agents.fidelity_checks import formulae, loop_lag
from agents.numbers import show_request
from agents.read_account import read_account
from agents.recorded import Run
from agents.records import (
    EventRecord,
    ProcessRecord,
    RequestRecord,
    StorageRecord,
    TransferRecord,
)
from agents.traffic.check import exchanged
from agents.wire.immediates import Kind
from testbed.fidelity.checks import Check
from testbed.fidelity.verdict import shaper_bursts
from testbed.units import show_rate, show_size

_WRONG = frozenset({"wrong-bytes", "wrong-tokens", "late-arrival", "stale-credit"})
_UNSTORED = frozenset({"put-failed"})
# Their request carries the error, if it did not end well after all: `_requests` sees it.
_OF_REQUESTS = frozenset(
    {"read-failed", "request-failed", "request-rejected", "request-retried", "read-elsewhere"}
)
# Worth knowing, and no fault: a small storage or cache evicts, or refuses, as it should.
_HARMLESS = frozenset({"warm-start-evicted", "cache-missed", "put-refused"})

_OF_KV = frozenset(kind.name.lower() for kind in Kind if kind < Kind.DISPATCH)
_BUFFERED_BYTES = 256 * 1024  # of a connection, under way before the window and read inside it


def own_checks(run: Run) -> list[Check]:
    """The workload's part of the verdict."""
    found = [_recorded(run), *_of_kv(run)]
    return [*found, exchanged(run)] if run.scenario.traffic.collectives else found


def _recorded(run: Run) -> Check:
    """Every process wrote its records to the end: what one saw must not be missing unseen.

    Its `ProcessRecord` is the last.  Who was lost has none; that is for other checks.
    """
    programs = {name for name, domain in run.plan.domains.items() if domain.kind == "dram"}
    asked = programs - set(run.lost)
    missing = sorted(asked - {process.process for process in run.of(ProcessRecord)})
    return Check(
        "every process left its records", run.variant, not missing if asked else None,
        f"{len(asked) - len(missing)} of {len(asked)}", "all",
        f"those of {', '.join(missing)} have no end: what it saw is in no figure and no check"
        if missing else "" if asked else "there was no process",
    )  # fmt: skip


def _of_kv(run: Run) -> list[Check]:
    # A load that a fault changes is not steady, and is not to be.
    whole = [faults_ended(run)] if run.scenario.faults else [_steady(run)]
    if not run.moves_kv:
        return [_nothing_moved(run), _persisted(run), _requests(run), _foreseen(run), *whole]
    checks = [
        _bytes(run),
        _persisted(run),
        _requests(run),
        _foreseen(run),
        *whole,
        _storage_rate(run),
    ]
    if run.interrupted_s is None:  # else reads of requests that never ended are in between
        checks.append(_reads(run))
    if run.scenario.kv == "transformer":
        return [*checks, _tokens(run)]  # computing is real work there, and holds the loops up
    if idle_overhead.has_idle_request(run.scenario, run.variant):
        checks.append(idle_overhead.check(run))
    if run.scenario.faults:
        return checks  # who is stopped is late, and who is lost carries nothing, on purpose
    return [*checks, formulae(run), loop_lag(run)]


def _told(event: EventRecord) -> str:
    detail = "; ".join(event.detail.splitlines())
    return f"{event.process}, {show_request(event.request)}: {event.kind}, {detail}"


def _nothing_moved(run: Run) -> Check:
    """A variant that moves no KV: there is no byte to verify, which must be true."""
    moved = [transfer for transfer in run.of(TransferRecord) if transfer.kind in _OF_KV]
    size = sum(transfer.size_bytes for transfer in moved)
    kinds = ", ".join(sorted({transfer.kind for transfer in moved}))
    return Check(
        "no KV moved, none to verify", run.variant, not moved,
        f"{show_size(size)} in {len(moved)} writes", "none",
        f"it is a bound only if nothing is moved, but there was {kinds}" if moved else "",
    )  # fmt: skip


def _bytes(run: Run) -> Check:
    wrong = [e for e in run.of(EventRecord) if e.kind in _WRONG]
    requests = [r for r in run.of(RequestRecord) if not r.error]
    size = sum(r.verified_bytes for r in requests)
    ok = not wrong and size > 0
    reason = ""
    if wrong:
        reason = _told(wrong[0])
    elif not ok:
        reason = "no byte was verified"
    return Check(
        "every byte verified", run.variant, ok, f"{show_size(size)} right, {len(wrong)} wrong",
        "0 wrong", reason,
    )  # fmt: skip


def _persisted(run: Run) -> Check:
    """Storage took every block that it was given and had room for.

    What it refuses for want of room is computed again, and later turns hit less: that is what such
    a storage does, and whoever reads the figures should know.
    """
    failed = [e for e in run.of(EventRecord) if e.kind in _UNSTORED]
    puts = sum(node.refused_puts for node in run.of(StorageRecord))
    size = show_size(sum(node.refused_bytes for node in run.of(StorageRecord)))
    return Check(
        "every put ended in order", run.variant, not failed,
        f"{len(failed)} failed, {puts} refused for want of room", "0 failed",
        _told(failed[0]) if failed else "",
        f"storage had no room for {puts} puts ({size}), whose blocks had to be computed again: the "
        "hit rate is that of a storage too small; storage.capacity gives it more" if puts else "",
    )  # fmt: skip


def _reads(run: Run) -> Check:
    """What storage sent is what arrived, and all of it was for a request."""
    account = read_account(run)
    wrong = account.wrong()
    return Check(
        "every read accounted for", run.variant, not wrong,
        f"{show_size(account.sent)} sent, {show_size(account.verified)} for requests that ended "
        f"well, {show_size(account.given_up)} given up", "all sent = all received", wrong,
    )  # fmt: skip


def _foreseen(run: Run) -> Check:
    """Nothing happened that no other check looks at: a new kind of event must not pass unseen."""
    known = _WRONG | _UNSTORED | _OF_REQUESTS | _HARMLESS
    if run.scenario.faults:
        known |= OF_FAULTS
    strange = [e for e in run.of(EventRecord) if e.kind not in known]
    reason = ""
    if strange:
        reason = _told(strange[0])
    return Check(
        "nothing unforeseen", run.variant, not strange, f"{len(strange)} events", "0 events",
        reason,
    )  # fmt: skip


def _tokens(run: Run) -> Check:
    """Every token is the one that a single process finds, and some came of KV that was read."""
    wrong = [e for e in run.of(EventRecord) if e.kind == "wrong-tokens"]
    right = [r for r in run.of(RequestRecord) if not r.error]
    tokens, hits = sum(r.generate_tokens for r in right), sum(r.hit_tokens for r in right)
    reason = ""
    if wrong:
        reason = f"request {wrong[0].request}: {wrong[0].detail}"
    elif not (tokens and hits):
        reason = "no token came of KV that was read: play more turns, or make them longer"
    return Check(
        "tokens as one process finds them", run.variant, not reason,
        f"{tokens} tokens in {len(right)} requests, {hits} hit tokens; {len(wrong)} wrong",
        "0 wrong", reason,
    )  # fmt: skip


def _requests(run: Run) -> Check:
    requests = run.of(RequestRecord)
    failed = [r for r in requests if r.error]
    again = [r for r in requests if r.attempts > 1]
    reason = f"request {failed[0].request}: {failed[0].error}" if failed else ""
    total = len(requests)
    return Check(
        "every request ended well", run.variant, not failed and total > 0,
        f"{total - len(failed)} of {total}", "all", reason or ("" if total else "there was none"),
        f"{len(again)} of {total} requests were tried more than once (events: request-retried); "
        "their times include the tries that failed" if again else "",
    )  # fmt: skip


def _steady(run: Run) -> Check:
    window = run.steadiness
    if window is None:
        return Check("steady window", run.variant, None, "no window", "", _no_window(run))
    thirds = ", ".join(show_rate(rate) + "/s" for rate in window.thirds_bps)
    return Check(
        "steady window", run.variant, window.steady, f"thirds {thirds}",
        f"first and last within {run.scenario.window.tolerance:.0%}",
        "" if window.steady else "the load still changed inside the window: lengthen duration",
    )  # fmt: skip


def _no_window(run: Run) -> str:
    """Why there is nothing to judge."""
    if run.window is not None:
        return "no KV arrived from storage in it"
    if run.interrupted_s is not None:
        return "the run was interrupted before its window had opened"
    return (
        "the trace came to its end before the window opened: shorten window.warm_up or "
        "window.warm_up_turns, or take a longer part of the trace"
    )


def _storage_rate(run: Run) -> Check:
    """No node loads more than its own SNIC can carry, whatever the policy may use."""
    name, bound = "load within line rate", "rate × time + bursts of each SNIC"
    if run.window is not None and not run.reads and run.from_caches:
        return Check(name, run.variant, True, "no reads: all hits came from caches", bound, "")
    if run.window is None or not run.reads:
        return Check(name, run.variant, None, "no window", "", _no_window(run))
    opened, closed = run.window
    arrived: dict[str, float] = {}
    sources: dict[str, set[str]] = {}
    for transfer, size in zip(run.reads, run.bytes_in_window(run.reads), strict=True):
        arrived[transfer.target] = arrived.get(transfer.target, 0.0) + float(size)
        sources.setdefault(transfer.target, set()).add(transfer.source)
    bursts = shaper_bursts(run.plan)
    may = {
        meter.node: meter.rate_bps / 8 * (closed - opened)
        + bursts[meter.nic, meter.direction]
        + _BUFFERED_BYTES * len(sources[meter.node])
        for meter in run.plan.meters
        if meter.kind == "snic" and meter.direction == "in" and meter.node in sources
    }
    shares = {node: size / may[node] if node in may else math.inf for node, size in arrived.items()}
    fullest = max(shares, key=lambda node: shares[node])
    ok = shares[fullest] <= 1
    return Check(
        name, run.variant, ok, f"{fullest} at {shares[fullest]:.1%} (bound by {bound_by(run)})",
        bound, "" if ok else f"more arrived at {fullest} than its SNIC can carry: the accounting "
        "is wrong",
    )  # fmt: skip
