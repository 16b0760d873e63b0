"""The scenario's section `scheduler`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from agents.numbers import MOST_ATTEMPTS
from testbed.experiment.scenario import DurationS, Section

Tokens = Annotated[int, Field(ge=1)]


class SchedulerSection(Section):
    """Which engines serve a request, and when that is decided."""

    placement: Literal["adaptive", "least-tokens", "round-robin"] = "adaptive"
    """adaptive: the paper's pull model, requests wait until engines fetch them.  The others place
    a request when it arrives: where the fewest unfinished tokens are, or everywhere in turn."""

    fetch_period: Annotated[DurationS, Field(gt=0)] = 0.02
    """Real time between two fetches of a group (adaptive only; the paper leaves it open)."""

    alpha: Literal["auto"] | Tokens = "auto"
    """Tokens that a node may have to read and still be preferred; auto is what its storage NIC
    reads in 3 s of real time.  `testbed profile` measures it."""

    beta: Literal["auto"] | Tokens = "auto"
    """Tokens of whole prompts that a prefill engine may have and still be given more; auto is what
    it processes in 5 s of real time (network-only: what its compute NIC carries in 5 s)."""

    unreported: Literal["counted", "ignored"] = "counted"
    """Whether what was assigned since a group's report counts (left open): until it is in a report,
    or (ignored) requests until the next report, and reads not at all."""

    read_queue_falls: Literal["completion", "bytes"] = "completion"
    """When a node's read queue gets shorter (left open): when a read is complete, or as its bytes
    arrive, in steps of one write of 256 KiB."""

    free_hbm: Literal["net", "gross"] = "gross"
    """Free HBM of a decode engine (left open): as it is, or (net) less what its requests will need
    that have none yet; then it is empty while their KV is read and computed."""

    ties: Literal["seeded", "first"] = "seeded"
    """Which of equal engines or groups (left open): by a hash of seed and request, or the first."""

    prefill_scope: Literal["cluster", "group"] = "cluster"
    """Prefill engines that a fetch may fill (left open): all, or those of the group that fetches;
    alpha then decides nothing, as all of them have one read queue."""

    attempts: Annotated[int, Field(ge=1, le=MOST_ATTEMPTS)] = 3
    """Times that a request is tried before its error is final.  What is tried again is what
    failed for a reason of the environment: a stored block that went before it was read, a node
    that was lost."""

    silent_after: Literal["auto"] | Annotated[DurationS, Field(gt=0)] = "auto"
    """Emulated time without a report after which a node counts as lost; of a storage node, without
    an answer.  Auto is 5 s, and no less than 20 fetch periods.  In a run without faults four times
    that, and the run ends."""
