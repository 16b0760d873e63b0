"""What reports say of runs of the agents: plain data, see `testbed.report.presentation`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from testbed.metrics import show
from testbed.report.presentation import Lateness, Phase, Presentation, Requests

REQUESTS = Requests(
    began="t_submit",
    answered="t_first_token",
    title="Time to first token",
    phases=(
        Phase("schedule", "t_scheduled", waiting=True),
        Phase("allocate", "t_allocated", waiting=True),
        Phase("read queue", "t_read_start", waiting=True),
        Phase("read", "t_read_end"),
        Phase("engine queue", "t_prefill_start", waiting=True),
        Phase("prefill", "t_first_token", within=("transfer", "stall_s")),
        Phase("copy to decode", "t_decode_start"),
        Phase("decode", "t_decode_end"),
        Phase("persist", "t_done"),
    ),
    kind="path",
    tries="attempts",
    labels=("request", "agent", "turn", "path", "prompt_tokens", "hit_tokens"),
)


def notes(run: Mapping[str, Any]) -> list[str]:
    """What has to be known of a run's engines and of its scale."""
    comparison = run.get("comparison", {})
    found = []
    if comparison.get("engines") == "network-only":
        modelled = comparison.get("modelled_speedup") or {}
        told = ", ".join(f"{name} {show('speedup', factor)}" for name, factor in modelled.items())
        found.append(
            "Network-only engines: no compute and no decode time, and HBM is not a limit. What is "
            "shown is the network alone."
            + (f" With modelled engines the caps would allow: {told}." if told else "")
        )
    scale = comparison.get("scale") or {}
    if {"rate", "stretch"} <= set(scale):
        found.append(
            f"Everything is emulated to scale: 1 bit/s here stands for {scale['rate']:,.0f} bit/s "
            f"of the real cluster, 1 byte for {scale.get('bytes_realised', scale['bytes']):,.0f}, "
            f"and times are {scale['stretch']:.3g} times as long as there. Figures are emulated "
            'unless they say "full scale".'
        )
    return found


WORDS = {
    "kv_load_bps": "KV load",
    "turns_per_s": "turns",
    "binds": "bound by",
    "bound_by": "bound by, as checks say it",
    "speedup": "speed-up over the first",
    "share": "share read on the prefill side",
    "ttft_s": "time to first token (TTFT)",
    "ttst_s": "time to second token (TTST)",
    "tpot_s": "time per output token (TPOT)",
    "itl_s": "time between tokens (ITL)",
    "jct_s": "job completion time (JCT)",
    "stall_s": "waiting for KV in prefill",
    "gpu_time": "time of prefill GPUs",
    "gpu_wait_share": "prefill GPUs waiting for KV",
    "path_share": "read path",
    "best_split_bps": "the best split could reach",
    "batch_correlation": "correlation of batch means",
    "bytes_verified": "KV verified",
    "bytes_gathered": "KV gathered from blocks in DRAM",
    "bytes_scattered": "KV scattered to blocks in DRAM",
    "bytes_reloaded": "KV loaded twice",
    "bytes_given_up": "KV read for tries that failed",
    "bytes_laid_down": "KV stored before the start",
    "prediction_error": "error of predicted times",
    "hit_rate": "hits, of prompt tokens",
    "steady": "steady: first and last third alike",
    "jain_agents": "Jain's index over agents",
    "read_queue_empty_s": "longest that a read queue was empty",
    "round_trip_s": "round trip under load",
    "slowdown": "slowdown",
    "gap": "gap to the best split",
    "thirds_bps": "load in each third of the window",
    "snic_max_avg": "SNIC Max/Avg",
    "attention_max_avg": "attention time Max/Avg",
    "miss_share": "misses, per byte read",
    "generated_share": "generated, per byte read",
    "loop_lag_p99_s": "lateness of the agents' loops, p99",
    "cpu_s": "CPU of the agents",
    "agents": "agents",
    "agents_needed": "agents that keep requests waiting",
    "service_s": "a turn alone in the cluster",
    "cores": "processors busy",
    "agents_cores": "processors busy with the agents",
    "process_cores": "processors busy with the busiest process",
    "cores_available": "processors of this machine",
    "cores_allowed": "processors that a run may keep busy",
    "memory_bytes": "memory",
    "memory_allowed_bytes": "memory that a run may take",
    "messages_per_s": "control messages",
    "timers_per_s": "timers of the agents",
    "hbm_layers": "layers of a request in prefill HBM",
    "length_s": "length of the run",
    "bring_up_s": "bringing the cluster up",
    "ready_s": "starting the programs",
    "warm_up_s": "warm-up",
    "window_length_s": "steady window",
    "drain_s": "draining",
}
VALUES = {
    "pcie": "PCIe links",
    "best-split": "the best split of the reads",
    "snic kv": "SNIC, KV lane",
    "snic model": "SNIC, model lane",
    "cnic kv": "CNIC, KV lane",
    "cnic model": "CNIC, model lane",
    "nvl kv": "NVLink, KV lane",
    "nvl model": "NVLink, model lane",
    "pcie kv": "PCIe",
    # Kinds of transfers, as `agents.wire.immediates.Kind` has them.
    "digests": "digests of blocks",
    "layer_load": "layers, PE buffer to prefill HBM",
    "layer_fetch": "layers, DE buffer to prefill HBM",
    "kv_return": "KV, prefill HBM to DE buffer",
    "chunk_fetch": "earlier chunks, DE buffer to prefill HBM",
    "chunk_return": "KV of chunks, prefill HBM to DE buffer",
    "h2d": "prompts, DE buffer to decode HBM",
    "d2h": "generated blocks, decode HBM to DRAM",
    "peer_read": "blocks, from another decode node's cache",
    "pe-snics": "SNICs of prefill nodes",
    "de-snics": "SNICs of decode nodes",
    "all-snics": "all SNICs",
    "storage-snics": "SNICs of storage nodes",
    "snics-out": "SNICs, writing back",
    "nvlink": "NVLink",
    "cnics": "CNICs",
    "prefill-compute": "prefill compute",
    "decode-hbm": "decode HBM",
    "arrivals": "arrivals",
    "storage": "storage NICs",
    "compute": "compute",
    "load": "the load alone",
    # Read paths of requests.
    "pe": "read by prefill (pe)",
    "de": "read by decode (de)",
    "split": "read by both (split)",
    "peer": "from a decode node's cache (peer)",
    "none": "nothing to read (none)",
    "pe-snic-in": "prefill SNICs, in",
    "de-snic-in": "decode SNICs, in",
    "pe-snic-out": "prefill SNICs, out",
    "de-snic-out": "decode SNICs, out",
    "pe-cnic-read": "prefill CNICs, read",
    "pe-cnic-write": "prefill CNICs, write",
    "de-cnic-read": "decode CNICs, read",
    "de-cnic-write": "decode CNICs, write",
    "pe-pcie-to-hbm": "prefill PCIe links, to HBM",
    "de-pcie-to-hbm": "decode PCIe links, to HBM",
    "de-pcie-to-dram": "decode PCIe links, to DRAM",
}
GLOSSARY = (
    ("node, engine", "a server, and one GPU of it"),
    ("prefill (PE), decode (DE)", "what engines do: compute a prompt's KV, generate tokens"),
    ("SNIC", "the storage NIC of a node, shared by its engines"),
    ("CNIC", "the compute NIC of an engine: every byte into or out of its GPU crosses it. It reads "
             "memory and writes memory; a copy inside a node does both"),
    ("KV", "keys and values of attention, kept so that a context need not be computed again"),
    ("PE buffer, DE buffer", "DRAM of a prefill and of a decode node that holds a request's KV on "
                             "its way"),
    ("turn, session", "one request of an agent; all its requests, each with the context of those "
                      "before"),
    ("hit, miss", "tokens of a prompt whose KV is in storage, and those to be computed"),
    ("read path", "the side whose SNIC reads a prompt's KV from storage: prefill (pe), decode (de),"
                  " both (split), or no storage at all but a decode node's cache (peer)"),
    ("pe-only, de-only, round-robin, shorter-queue, split, adaptive",
     "read-path policies: always one side, by turns, the side with the shorter read queue, both at "
     "once, by predicted finish"),
    ("basic, oracle", "baselines: prefill-side reads of all layers at once; no KV moved at all"),
    ("steady window", "the part of a run that figures are of: warm-up and end are left out"),
    ("cap", "turns a second at which one resource would be full"),
    ("bound by", "what was full: a line at 97 %, prefill engines with no time to spare, HBM that "
                 "prompts always waited for; by arrivals or by the load alone if nothing was"),
    ("Max/Avg", "use of the busiest over the mean"),
)  # fmt: skip

PRESENTATION = Presentation(
    answer="kv_load_bps",
    meaning="KV bytes that arrived from storage inside the steady window, all of them verified",
    requests=REQUESTS,
    words=WORDS,
    values=VALUES,
    glossary=GLOSSARY,
    tables={
        "nic_loads": (
            "NIC loads beside the formulae",
            "All NICs of a class together, payload, in the steady window. Formulae: DualPath, "
            "section 4.2, with the shares of misses and write-backs that were measured.",
        ),
        "nic_use": (
            "Use of the NICs, lanes and queues",
            "In the steady window, headers included: the mean over the NICs of a class and the "
            "fullest of them, shares of the line's time by lane, and what waited in front of a NIC "
            "in the mean, as time of its line.",
        ),
        "round_trip_s": (
            "Round trips under load",
            "By kind of NIC and lane, as TCP sees them in the steady window (smoothed), and the "
            "least that it has seen; queues in front of the NICs are part of them.",
        ),
        "slowdown": (
            "Slowdown of transfers",
            "By kind of transfer: from posting to the last byte, over the time of its bytes alone "
            "on the slowest line of its way. Small transfers that wait behind large ones have "
            "large values.",
        ),
    },
    lateness=Lateness("Lateness of the agents' event loops", check="loop lag"),
    marks=(
        "fault",
        "node-lost",
        "nothing-left",
        "put-lost",
        "scheduler-lost",
        "scheduler-back",
    ),
    not_shown=(
        ("The cost of RDMA verbs and of copy engines", "small transfers look cheaper, relatively"),
        ("PCIe ordering and its congestion", "loopbacks look smoother"),
        (
            "Kernels of a GPU: engines wait for the time that a model of them says",
            "no jitter of computing; batches end when they should",
        ),
    ),
    notes=notes,
)
