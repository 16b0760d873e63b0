"""A program to run in a memory domain: an agent, iperf3, a shell; all the same to the sandbox."""

from __future__ import annotations

import msgspec


class Program(msgspec.Struct, frozen=True):
    """What to run, and where.

    Args:
        argv: program and arguments.  For a Python module, `module` names it and `argv` holds
            only the arguments (sys.argv[1:]).
        domain: the namespace it runs in.
        module: a Python module run as `python -P -m module`, started by fork from the zygote
            (the interpreter is already warm) or, with `fork=False`, by exec: same result.  It is
            looked for where the testbed's own modules are found, and never in the working
            directory: a user's files must not take the place of what a module imports.
        module_path: directories that are searched before all others, for a module from elsewhere.
        preload: modules that the zygote imports before it forks, once for all programs with the
            same `preload`, `environment` and `module_path`; a testbed does so for one kind of
            program, the first that it is asked to start, and starts all others by exec from then
            on.  Importing them must start no thread, and do nothing that each program has to do
            for itself.
        environment: added to the sandbox's own environment.
        cwd: working directory; None is that in which the testbed was started.
        scope: programs of one scope (a node's name) can be killed together; default the domain.
        broker: give it a descriptor to make sockets in any domain (`TESTBED_BROKER_FD`).
    """

    argv: tuple[str, ...]
    domain: str
    module: str | None = None
    module_path: tuple[str, ...] = ()
    preload: tuple[str, ...] = ()
    fork: bool = True
    environment: dict[str, str] = {}
    cwd: str | None = None
    scope: str = ""
    broker: bool = False
