"""How long layerwise prefill takes when a request is alone: loads, compute and returns overlap.

With n layer groups, of which group i takes l_i to arrive, c_i to compute and r_i to leave, and HBM
for k of them:

    L_i = max(L_{i-1}, R_{i-k}) + l_i      arrived: one after the other, into a slot that is free
    C_i = max(C_{i-1}, L_i) + c_i          computed: one after the other, what has arrived
    R_i = max(R_{i-1}, C_i) + r_i          left

and the first token is out at C_n.  For equal groups that is l + n·c where compute binds, n·l + c
where arriving binds: never n·l + n·c, what it takes to push all layers first and compute then.

Loads and returns are taken not to share a NIC.  That holds for the `de` path (decode CNIC read and
prefill CNIC write; prefill CNIC read and decode CNIC write).  On the `pe` path both cross the
prefill CNIC's read side, and a load that competes with returns takes longer than alone.
"""

from __future__ import annotations

from collections.abc import Sequence


def pipeline_s(
    loads_s: Sequence[float], computes_s: Sequence[float], returns_s: Sequence[float], slots: int
) -> float:
    """Time from the first load to the end of the last group's compute.

    Args:
        loads_s, computes_s, returns_s: of each group, alone.
        slots: groups that HBM holds at a time.

    Raises:
        ValueError: there is no slot, or the three differ in length.
    """
    if slots < 1:
        raise ValueError("HBM must hold one layer group at least")
    loaded_s = computed_s = returned_s = 0.0
    left_s: list[float] = []
    for load_s, compute_s, return_s in zip(loads_s, computes_s, returns_s, strict=True):
        number = len(left_s)
        free_s = left_s[number - slots] if number >= slots else 0.0
        loaded_s = max(loaded_s, free_s) + load_s
        computed_s = max(computed_s, loaded_s) + compute_s
        returned_s = max(returned_s, computed_s) + return_s
        left_s.append(returned_s)
    return computed_s


def on_wire_bytes(payload_bytes: float, mtu: int, header_bytes: int) -> float:
    """Bytes that a shaper counts for a payload in full frames.

    Args:
        payload_bytes: of TCP.
        mtu: of the link.
        header_bytes: of each frame, Ethernet's 14 included.
    """
    payload_of_frame = mtu - (header_bytes - 14)
    return payload_bytes * (1 + header_bytes / payload_of_frame)
