"""What can bind a policy, in the words of the caps: one vocabulary for prediction and measurement.

    pe-snics, de-snics, all-snics   SNICs of prefill nodes, of decode nodes, of both, reading
    snics-out                       SNICs of decode nodes, writing back
    storage-snics                   SNICs of storage nodes
    cnics, pcie, nvlink             NICs inside nodes and between their GPUs
    prefill-compute, decode-hbm     engines
    arrivals, load                  nothing is full: no more arrives, or agents are few

A NIC class ("pe-snic-in") says more, and too much to compare by: of SNICs that a policy keeps
equally full, which one is the fullest is chance.
"""

from __future__ import annotations

from collections.abc import Collection

STORAGE_SNICS = "storage-snics"
PREFILL_COMPUTE = "prefill-compute"
DECODE_HBM = "decode-hbm"
ARRIVALS = "arrivals"
LOAD = "load"
_READING = "-snic-in"
_OF_KIND = {"snic": "snics-out", "cnic": "cnics", "pcie": "pcie"}


def of_nics(full: Collection[str], fullest: str) -> str:
    """What binds where NICs do.

    Args:
        full: NIC classes that are full, e.g. "pe-snic-in".
        fullest: the first of them to become faster.
    """
    if fullest.startswith("storage-"):
        return STORAGE_SNICS
    if fullest.endswith(_READING):
        return of_readers({nic.removesuffix(_READING) for nic in full if nic.endswith(_READING)})
    kind = fullest.split("-")[1]
    return _OF_KIND.get(kind, kind)


def of_readers(sides: Collection[str]) -> str:
    """SNICs that read: of "pe", of "de", or of both."""
    return "all-snics" if len(set(sides)) > 1 else f"{next(iter(sides))}-snics"
