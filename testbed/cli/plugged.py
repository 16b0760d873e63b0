"""Verbs that installed distributions add to the command.

A distribution declares an entry point of the group `testbed.verbs` that names a table: verb ->
(module, what it does in a line), the module with a click command called `command`.  The table is
read for `testbed --help`, so it lies in a module that imports the standard library only.
"""

from __future__ import annotations

from collections.abc import Container

from testbed.errors import ConflictError
from testbed.plugins import declared

GROUP = "testbed.verbs"


def plugged_verbs(taken: Container[str]) -> dict[str, tuple[str, str]]:
    """The verbs of all installed tables.

    Args:
        taken: verbs that the testbed has itself.

    Raises:
        ConflictError: a table cannot be read, or a verb is there already.
    """
    found: dict[str, tuple[str, str]] = {}
    for name, entry in declared(GROUP, "verbs called").items():
        try:
            table = {
                str(verb): (str(module), str(help_text))
                for verb, (module, help_text) in entry.load().items()
            }
        except Exception as error:
            # Whatever somebody's module does when it is imported, it must be told whose it is.
            raise ConflictError(
                f"the verbs of {name!r} ({entry.value}) cannot be read: {error}",
                hint="install that package again, or uninstall it",
            ) from error
        for verb in table:
            if verb in taken or verb in found:
                raise ConflictError(
                    f"{entry.value} provides a command {verb!r}, and there is one already",
                    hint=f"uninstall the package of {entry.module.partition('.')[0]!r}",
                )
        found |= table
    return found
