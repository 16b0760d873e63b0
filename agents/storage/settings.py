"""The section `storage` of a scenario."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from agents.traces.session import BLOCK_TOKENS
from testbed.experiment.scenario import Section, SizeBytes


class Storage(Section):
    """Where the emulated storage keeps its blocks."""

    directory: str | None = None
    """A directory of this machine, which must be there; default a tmpfs."""

    capacity: SizeBytes | None = None
    """Of each storage node, in emulated bytes; default what the run can write."""

    eviction: Literal["lru", "none"] = "lru"
    """When a node is full: the least recently used prefixes go, from their ends; or it refuses
    new blocks, which are a miss the next time."""

    extent_tokens: int = Field(default=4096, ge=BLOCK_TOKENS, multiple_of=BLOCK_TOKENS)
    """Tokens of a prefix that lie together on one storage node, when there are several."""

    @field_validator("directory")
    @classmethod
    def _is_there(cls, directory: str | None) -> str | None:
        """Bytes are not to land in a place that a slip of the pen has made."""
        if directory is not None:
            path = Path(directory).expanduser()
            if not path.is_dir():
                raise ValueError(f"there is no directory {directory!r}; make it, or leave it out")
            if not os.access(path, os.W_OK | os.X_OK):
                raise ValueError(f"this user may not write to {directory!r}")
        return directory
