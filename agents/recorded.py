"""A run of one policy as it was recorded: what all figures and checks look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from agents.accounts import carried_bytes
from agents.nics import NicSeries
from agents.records import (
    AccountRecord,
    AnyRecord,
    EventRecord,
    RequestRecord,
    TransferRecord,
)
from agents.settings import DualPathScenario
from agents.transfer_figures import TransferRow, transfer_rows
from testbed.fidelity.window import Window, in_window, steady_window
from testbed.plan.model import Plan

T = TypeVar("T")
Arrivals: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
"""Start, end and bytes of each."""


@dataclass
class Run:
    """One policy's run, as recorded.

    Args:
        scenario, plan, variant: what was run.
        records: by type, of all processes.
        samples: the kernel's counters.
        fields: of the client's `finished`; of its last progress if the run was interrupted.
        interrupted_s: when that was; the window closes then at the latest.
    """

    scenario: DualPathScenario
    plan: Plan
    variant: str
    records: Mapping[type, list[AnyRecord]]
    samples: Sequence[Sequence[Any]]
    fields: Mapping[str, Any]
    interrupted_s: float | None = None

    def of(self, kind: type[T]) -> list[T]:
        """The records of one type."""
        return cast("list[T]", self.records.get(kind, []))

    @property
    def moves_kv(self) -> bool:
        """Whether KV is moved at all, see `agents.variants`."""
        return self.scenario.variants[self.variant].moves_kv

    @cached_property
    def window(self) -> tuple[float, float] | None:
        """(open, close) of the steady window."""
        opened, closed = self.fields.get("open_s"), self.fields.get("close_s")
        if closed is None:
            closed = self.interrupted_s
        if opened is None or closed is None or closed <= opened:
            return None
        return float(opened), float(closed)

    @property
    def length_s(self) -> float:
        """From the first of the kernel's counters to the last."""
        moments = [samples[0].t_s for samples in self.samples if samples]
        return float(moments[-1] - moments[0]) if moments else 0.0

    @cached_property
    def nics(self) -> NicSeries:
        """The kernel's byte counters."""
        return NicSeries(self.samples)

    @cached_property
    def verified(self) -> set[int]:
        """Tries of requests that ended well: all of their bytes were verified."""
        return {r.served_as for r in self.of(RequestRecord) if not r.error}

    @cached_property
    def from_caches(self) -> list[TransferRecord]:
        """Verified KV that came from decode nodes' caches: copied in DRAM, or by CNICs."""
        return [
            t
            for t in self.of(TransferRecord)
            if t.kind in ("peer_read", "peer_copy") and t.request in self.verified
        ]

    @cached_property
    def storage_reads(self) -> list[TransferRecord]:
        """Writes of KV from storage, whatever became of the try that they were for."""
        return [t for t in self.of(TransferRecord) if t.kind == "storage_read"]

    @cached_property
    def reads(self) -> list[TransferRecord]:
        """Writes of verified KV from storage."""
        return [t for t in self.storage_reads if t.request in self.verified]

    @cached_property
    def transfer_rows(self) -> list[TransferRow]:
        """All transfers, with what follows from them."""
        return transfer_rows(self.plan, self.of(TransferRecord))

    def read_between(self, first_s: float, last_s: float) -> float:
        """Bytes of verified KV that arrived from storage between two moments."""
        return float(in_window(*_arrivals(self.reads), first_s, last_s).sum())

    def bytes_in_window(self, transfers: Sequence[TransferRecord]) -> NDArray[np.float64]:
        """How much of each transfer arrived in the window."""
        assert self.window is not None
        return in_window(*_arrivals(transfers), *self.window)

    @cached_property
    def steadiness(self) -> Window | None:
        """The window, with the load of its thirds.

        Where KV is not moved, that of the bytes that would have been read, while they prefill.
        """
        hits = [*self.reads, *self.from_caches]
        arrivals = _arrivals(hits) if self.moves_kv else self._unread()
        if self.window is None or not len(arrivals[0]):
            return None
        return steady_window(*arrivals, *self.window, self.scenario.window.tolerance)

    def _unread(self) -> Arrivals:
        layout = self.scenario.layout
        token_bytes = layout.full_block_bytes / layout.block_tokens
        rows = [
            (r.t_prefill_start, r.t_first_token, r.hit_tokens * token_bytes)
            for r in self.of(RequestRecord)
            if not r.error
        ]
        return _columns(rows)

    def in_window(self, requests: Sequence[RequestRecord], when: str) -> list[RequestRecord]:
        """Requests for which something happened in the window, and which ended well."""
        if self.window is None:
            return []
        opened, closed = self.window
        return [r for r in requests if not r.error and opened <= getattr(r, when) < closed]

    def account(self) -> dict[tuple[str, str], float]:
        """(nic, direction) -> bytes of TCP payload that should have crossed it."""
        return carried_bytes(self.of(AccountRecord), lost=self.lost)

    @cached_property
    def lost(self) -> list[str]:
        """Nodes that were declared lost, in that order."""
        events = [e for e in self.of(EventRecord) if e.kind == "node-lost"]
        return [e.detail.partition(":")[0] for e in sorted(events, key=lambda e: e.t_s)]

    def unaccounted(self) -> list[tuple[str, str]]:
        """NICs of which no account is kept any more: those of lost nodes."""
        return [(m.nic, m.direction) for m in self.plan.meters if m.node in self.lost]


def _arrivals(transfers: Sequence[TransferRecord]) -> Arrivals:
    return _columns([(t.t_first_byte, t.t_last_byte, t.size_bytes) for t in transfers])


def _columns(rows: Sequence[tuple[float, float, float]]) -> Arrivals:
    table = np.array(rows, float).reshape(-1, 3)
    return table[:, 0], table[:, 1], table[:, 2]
