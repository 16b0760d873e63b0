"""The Python modules that the processes of a run are, and how they are started."""

from __future__ import annotations

STORAGE = "agents.storage.server"
NODE = "agents.node"
SCHEDULER = "agents.scheduler.server"
CLIENT = "agents.client.process"

ALL = (STORAGE, NODE, SCHEDULER, CLIENT)
"""What is imported once for all processes of a cluster (`Program.preload`)."""

ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1"}
"""One thread for numpy: nodes are many, and what has threads cannot be forked."""
