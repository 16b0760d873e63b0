"""What this kernel and this user can do, found out by doing it.

Sysctls and configuration files say what ought to work; security modules, containers and missing
modules have the last word.  So the sequence of a real bring-up is tried, in namespaces of a child
process that vanish with it; nothing is made in the namespaces of the caller.
"""

from __future__ import annotations

import os
import signal
import traceback

import msgspec

from testbed.errors import TestbedError
from testbed.kernel.probes import Probe, inner_probes, own_probes


class Feature(msgspec.Struct, frozen=True):
    """One thing that was tried.

    Args:
        name: of the feature.
        needed_for: what of the testbed does not work without it.
        required: nothing works without it.
        present: it worked.
        detail: what happened, when it did not.
        remedy: what to do about it.
        tried: False where something that it stands on is missing.
    """

    name: str
    needed_for: str
    required: bool
    present: bool
    detail: str = ""
    remedy: str = ""
    tried: bool = True


def features() -> list[Feature]:
    """Try everything, in the order of a bring-up; works as any user.

    Returns:
        Every feature.  Where a base is missing, what stands on it counts as missing too.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            for number in (signal.SIGINT, signal.SIGTERM):  # what ends the caller ends this as well
                signal.signal(number, signal.SIG_DFL)
            os.close(reading)
            _in_child(writing)
            status = 0
        except KeyboardInterrupt:
            pass
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as results:
        found = [msgspec.json.decode(line, type=Feature) for line in results]
    os.waitpid(child, 0)
    tried = {feature.name for feature in found}
    missing = ", ".join(f.name for f in found if f.required and not f.present)
    detail = f"not tried, for lack of: {missing}" if missing else "not tried: the child died"
    found += [
        Feature(probe.name, probe.needed_for, probe.required, False, detail, tried=False)
        for probe in [*own_probes(), *inner_probes()]
        if probe.name not in tried
    ]
    return found


def _in_child(writing: int) -> None:
    """The probes of this process's own namespaces, then those inside, in pid 1 of new ones."""
    for probe in own_probes():
        if not _try(probe, writing):
            return
    inner = os.fork()
    if inner == 0:
        status = 1
        try:
            _inside(writing)
            status = 0
        except BrokenPipeError:
            pass  # the caller was interrupted, and has gone
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.waitpid(inner, 0)


def _inside(writing: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # pid 1 ignores it otherwise
    for probe in inner_probes():
        if not _try(probe, writing) and probe.name in ("mounts", "domains"):
            return


def _try(probe: Probe, writing: int) -> bool:
    detail = ""
    try:
        probe.run()
    except TestbedError as error:
        detail = error.message
    except OSError as error:
        detail = error.strerror or str(error)
    feature = Feature(
        probe.name, probe.needed_for, probe.required, not detail, detail,
        probe.remedy if detail else "",
    )  # fmt: skip
    os.write(writing, msgspec.json.encode(feature) + b"\n")
    return not detail
