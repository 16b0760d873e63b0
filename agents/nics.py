"""What the kernel counted on the NICs, and what the formulae say it should have been.

Loads are those of DualPath section 4.2, with the terms for miss tokens and write-back that the
paper leaves out, and with the shares that were measured in the run itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agents.caps import NicClass, TurnBytes, turn_loads

_SIDES = {"prefill": "pe", "decode": "de"}


class NicSeries:
    """The kernel's byte counters of one run, by NIC and direction.

    Args:
        samples: lists of `testbed.kernel.counters.MeterSample`, one list each 100 ms.
    """

    def __init__(self, samples: Sequence[Sequence[Any]]) -> None:
        first = samples[0]
        self.meters = list(first)
        self.times_s = np.array([[m.t_s for m in sample] for sample in samples])
        self._bytes = np.array([[m.bytes for m in sample] for sample in samples], float)
        self._payload = np.array(
            [[meter.lanes["kv"].payload_bytes for meter in sample] for sample in samples], float
        )

    def _grown(
        self, counts: NDArray[np.float64], open_s: float, close_s: float
    ) -> dict[tuple[str, str], float]:
        """(nic, direction) -> growth per second in a window, interpolated between samples."""
        grown = {}
        for i, meter in enumerate(self.meters):
            first, last = np.interp([open_s, close_s], self.times_s[:, i], counts[:, i])
            grown[meter.nic, meter.direction] = float(last - first) / (close_s - open_s)
        return grown

    def rates_bps(self, open_s: float, close_s: float) -> dict[tuple[str, str], float]:
        """(nic, direction) -> bit/s in a window, headers included: what the line carried."""
        return {name: 8 * rate for name, rate in self._grown(self._bytes, open_s, close_s).items()}

    def payload_bps(self, open_s: float, close_s: float) -> dict[tuple[str, str], float]:
        """(nic, direction) -> bit/s of TCP payload in the kv lane; of all, where that is the only.

        Headers and ACKs are taken off by packets.
        """
        grown = self._grown(self._payload, open_s, close_s)
        return {name: 8 * rate for name, rate in grown.items()}

    def utilisation(self, open_s: float, close_s: float) -> dict[tuple[str, str], float]:
        """(nic, direction) -> share of the line rate in a window."""
        line = {(m.nic, m.direction): m.rate_bps for m in self.meters}
        return {k: v / line[k] for k, v in self.rates_bps(open_s, close_s).items()}

    def imbalance(self, open_s: float, close_s: float, step_s: float) -> float | None:
        """Max/Avg over the SNICs' incoming bytes of prefill and decode nodes, mean over steps."""
        chosen = [
            i
            for i, m in enumerate(self.meters)
            if m.kind == "snic" and m.direction == "in" and m.role in ("prefill", "decode")
        ]
        edges = np.arange(open_s, close_s + step_s / 2, step_s)
        if len(edges) < 2 or not chosen:
            return None
        grown = np.diff(
            np.stack([np.interp(edges, self.times_s[:, i], self._bytes[:, i]) for i in chosen]),
            axis=1,
        )
        mean = grown.mean(axis=0)
        if not (mean > 0).all():
            return None
        return float((grown.max(axis=0) / mean).mean())


class Shares(NamedTuple):
    """Dimensionless shares of a run, measured in its window.

    Args:
        prefill: a, bytes read on the prefill side / bytes read.
        miss: m, KV bytes of miss tokens / bytes read.
        generated: w, KV bytes of generated Full Blocks / bytes read.
        written: KV bytes of Full Blocks written to storage / bytes read.
    """

    prefill: float
    miss: float
    generated: float
    written: float


class Load(NamedTuple):
    """One row of the load table: a kind of NIC port, summed over its role.

    Args:
        name: of the NIC class.
        measured_bps: payload, from the kernel's counters.
        formula_bps: from the shares.
    """

    name: NicClass
    measured_bps: float
    formula_bps: float

    @property
    def ratio(self) -> float | None:
        """measured / formula; None where the formula gives nothing."""
        return self.measured_bps / self.formula_bps if self.formula_bps else None


def load_table(
    rates_bps: dict[tuple[str, str], float],
    roles: dict[str, str],
    read_bps: float,
    shares: Shares,
    *,
    loopback: bool = True,
) -> list[Load]:
    """Measured loads beside DualPath's formulae (section 4.2, with miss and write-back terms).

    Args:
        rates_bps: (nic, direction) -> bit/s of payload.
        roles: node -> role.
        read_bps: T, payload read from storage by all nodes.
        shares: a, m, w of the run.
        loopback: DRAM and HBM of a node exchange bytes over CNICs.
    """
    turn = TurnBytes(1.0, shares.miss, shares.generated)
    formula = turn_loads(turn, shares.prefill, loopback=loopback)
    formula["de-snic-out"] = shares.written  # only blocks that are full are written
    measured: dict[NicClass, float] = dict.fromkeys(formula, 0.0)
    for (nic, direction), rate in rates_bps.items():
        node, _, device = nic.partition("/")
        name = f"{_SIDES.get(roles.get(node, ''))}-{device.rstrip('0123456789')}-{direction}"
        if name in measured:
            measured[name] += rate
    return [Load(name, measured[name], factor * read_bps) for name, factor in formula.items()]
