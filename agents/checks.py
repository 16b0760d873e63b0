"""What only the agents can check: that every byte was the right one, and every request ended."""

from __future__ import annotations

from agents.records import EventRecord, RequestRecord
from agents.summary import Run, bound_by
from testbed.fidelity.checks import Check
from testbed.units import show_rate, show_size

_WRONG = ("wrong-bytes", "late-arrival", "stale-credit")
_ACCOUNT_SHARE, _ACCOUNT_BYTES = 0.02, 64 * 1024


def own_checks(run: Run) -> list[Check]:
    """The workload's part of the verdict."""
    checks = [_bytes(run), _requests(run), _steady(run), _storage_rate(run)]
    return [*checks, _tokens(run)] if run.scenario.kv == "transformer" else checks


def _bytes(run: Run) -> Check:
    wrong = [e for e in run.of(EventRecord) if e.kind in _WRONG]
    requests = [r for r in run.of(RequestRecord) if not r.error]
    size = sum(r.verified_bytes for r in requests)
    ok = not wrong and size > 0
    reason = ""
    if wrong:
        first = wrong[0]
        reason = f"{first.process}, request {first.request}: {first.kind}, {first.detail}"
    elif not ok:
        reason = "no byte was verified"
    return Check(
        "every byte verified", run.variant, ok, f"{show_size(size)} right, {len(wrong)} wrong",
        "0 wrong", reason,
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
    failed = [r for r in run.of(RequestRecord) if r.error]
    reason = f"request {failed[0].request}: {failed[0].error}" if failed else ""
    total = len(run.of(RequestRecord))
    return Check(
        "every request ended well", run.variant, not failed and total > 0,
        f"{total - len(failed)} of {total}", "all", reason or ("" if total else "there was none"),
    )  # fmt: skip


def _steady(run: Run) -> Check:
    window = run.steadiness
    if window is None:
        return Check(
            "steady window", run.variant, None, "no window", "",
            "the run ended before the window opened: give it a longer duration",
        )  # fmt: skip
    thirds = ", ".join(show_rate(rate) + "/s" for rate in window.thirds_bps)
    return Check(
        "steady window", run.variant, window.steady, f"thirds {thirds}".replace("bit/s", "bit/s"),
        f"first and last within {run.scenario.window.tolerance:.0%}",
        "" if window.steady else "the load still changed inside the window: lengthen duration",
    )  # fmt: skip


def _storage_rate(run: Run) -> Check:
    """No load above what its SNICs can carry."""
    if run.window is None or not run.reads:
        return Check("load within line rate", run.variant, None, "no window", "", "no window")
    opened, closed = run.window
    load = float(run.bytes_in_window(run.reads).sum()) * 8 / (closed - opened)
    line = sum(
        m.rate_bps
        for m in run.plan.meters
        if m.kind == "snic" and m.direction == "in" and m.role in ("prefill", "decode")
    )
    return Check(
        "load within line rate", run.variant, load <= line,
        f"{show_rate(load)} (bound by {bound_by(run)})", show_rate(line),
        "" if load <= line else "more arrived than the SNICs can carry: the accounting is wrong",
    )  # fmt: skip
