"""The `cache` section of a scenario: KV that decode nodes keep in DRAM after its use."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from testbed.experiment.scenario import Section, SizeBytes


class CacheSection(Section):
    """Least recently used KV goes first; only policies that take KV from it have it."""

    capacity: Annotated[SizeBytes, Field(ge=0)] = 80 * 2**30
    """DRAM of each decode node for it, as in the real cluster; 0 for none."""
