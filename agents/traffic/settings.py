"""The `traffic` section of a scenario: which way a GPU's bytes go, and model execution."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from testbed.experiment.scenario import Section

Mode = Literal["cnic-centric", "direct", "no-lanes"]


class TrafficSection(Section):
    """The traffic manager; the mode alone may be given in place of the section."""

    mode: Mode = "cnic-centric"
    """cnic-centric: every byte of a GPU goes by its CNIC, model execution in a lane of its own;
    direct: DRAM to HBM and back by PCIe links; no-lanes: as the first, in one lane."""

    collectives: bool = False
    """Whether modelled engines exchange what model execution would, as real bytes."""

    ep_domain: Literal["role", "node"] = "role"
    """Experts are spread over all engines of a role, or over those of each node."""

    copies: Literal["expert", "node"] = "expert"
    """A copy of a token goes to each of its experts, or one to each node (and GPU) with some."""

    messages_per_s: float = Field(default=2000.0, gt=0)
    """Messages that this machine may spend on collectives; layers are fused to keep to it."""

    batched: bool = True
    """Transfers that wait for one queue pair share system calls."""

    submission_cost: bool = False
    """Charge emulated time for submitting each Layer Block: RDMA write, or copy engine."""

    @model_validator(mode="before")
    @classmethod
    def _mode_alone(cls, given: Any) -> Any:
        return {"mode": given} if isinstance(given, str) else given
