"""Entry points: what installed distributions add to the testbed.

Standard library only: the command line reads them for its table of verbs.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from testbed.errors import ConflictError


def declared(group: str, what: str) -> dict[str, EntryPoint]:
    """The entry points of a group, by name; nothing of them is imported.

    Args:
        group: e.g. "testbed.workloads".
        what: one of them is called so in messages, e.g. "a workload".

    Raises:
        ConflictError: two distributions declare different ones of one name.
    """
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=group):
        # A checkout that is installed too declares the same one twice: no conflict.
        if found.setdefault(entry.name, entry).value != entry.value:
            raise ConflictError(
                f"two packages provide {what} {entry.name!r}: "
                f"{found[entry.name].value} and {entry.value}",
                hint="uninstall one of them",
            )
    return found
