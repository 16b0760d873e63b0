"""Which testbeds run: one directory each, and a lock that is held while it lives.

    RUNTIME/NAME/control.sock   requests (mode 0600)
    RUNTIME/NAME/lock           flock(2) held by the supervisor: the testbed is alive
    RUNTIME/NAME/about.json     what it is, for `testbed ls`
    RUNTIME/.crashed-NAME       why a supervisor failed, until the name is used again

A directory appears under its name with its lock held already, and disappears whole: both by
rename(2), so that nobody ever meets a half-made one.  Only who holds the lock may remove it.

RUNTIME is $XDG_RUNTIME_DIR/testbed, else /run/testbed for root, else a private directory of the
user's in the temporary directory.  Standard library only: `testbed ls` must be quick.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import stat
import time
from pathlib import Path
from typing import Any, NamedTuple

from testbed.errors import ConflictError, NotFoundError, UnsupportedError, UsageError
from testbed.suggestions import suggestion

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_LONGEST_SOCKET_PATH_BYTES = 107  # sun_path holds 108, the last of them zero: unix(7)
_DRAFT, _GRAVE = ".new-", ".old-"  # what is being made, what is being removed
_CRASHED = ".crashed-"
_HIDDEN = ("/dev/shm", "/proc", "/sys")  # the sandbox mounts its own over them
_CLEANING_S = 0.2  # who removes a dead testbed holds its lock for a moment


class Entry(NamedTuple):
    """A running testbed.

    Args:
        name, directory: where it is registered.
        about: contents of about.json; empty while it comes up.
    """

    name: str
    directory: Path
    about: dict[str, Any]

    @property
    def socket(self) -> Path:
        """Its control socket."""
        return self.directory / "control.sock"


def runtime_directory() -> Path:
    """The directory of all testbeds of this user; made if need be.

    Raises:
        UnsupportedError: it cannot be made, is somebody else's, or is open to others.
    """
    if base := os.environ.get("XDG_RUNTIME_DIR"):
        directory = Path(base) / "testbed"
    elif os.getuid() == 0:
        directory = Path("/run/testbed")
    else:
        import tempfile  # not free, and root never needs it

        directory = Path(tempfile.gettempdir()) / f"testbed-{os.getuid()}"
    advice = "set XDG_RUNTIME_DIR to a directory of yours with mode 0700"
    if any(directory.is_relative_to(place) for place in _HIDDEN):
        raise UnsupportedError(f"{directory} cannot be seen from inside a testbed", hint=advice)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.lstat()
    except OSError as error:
        raise UnsupportedError(
            f"cannot make {directory}, where running testbeds are registered: {error.strerror}",
            hint=advice,
        ) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise UnsupportedError(
            f"{directory} is not a private directory of yours",
            hint=f"remove it, or {advice}",
        )
    return directory


def claim(name: str) -> tuple[Path, int]:
    """Register a new testbed: its directory, and a descriptor that holds its lock.

    Raises:
        UsageError: the name cannot be used.
        ConflictError: a testbed of that name runs.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot name a testbed",
            hint="use letters, digits, '_', '.' and '-', beginning with a letter or digit",
        )
    directory = runtime_directory() / name
    length = len(os.fsencode(directory / "control.sock"))
    if length > _LONGEST_SOCKET_PATH_BYTES:
        raise UsageError(
            f"the name {name!r} makes the path of the control socket {length} bytes long; Linux "
            f"allows {_LONGEST_SOCKET_PATH_BYTES}",
            hint=f"use a name that is {length - _LONGEST_SOCKET_PATH_BYTES} shorter, or a shorter "
            "XDG_RUNTIME_DIR",
        )
    looks_until_s = time.monotonic() + _CLEANING_S
    while True:
        try:
            fd = _make_locked(directory)
        except FileNotFoundError:
            continue  # whoever tidied up took it for a dead one
        if fd is not None:
            crash_log(directory).unlink(missing_ok=True)
            return directory, fd
        if _remove_dead(directory):
            continue
        if time.monotonic() > looks_until_s:
            raise ConflictError(
                f"a testbed named {name!r} runs already",
                hint=f"choose another --name, or end it with `testbed down {name}`",
            )
        time.sleep(_CLEANING_S / 20)


def _make_locked(directory: Path) -> int | None:
    """Make a directory whose lock is held from the start; None if there is one of that name."""
    draft = directory.with_name(f"{_DRAFT}{os.urandom(8).hex()}")
    draft.mkdir(mode=0o700)
    fd = os.open(draft / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _try_lock(fd):
            raise FileNotFoundError(errno.ENOENT, "is being tidied up", str(draft))
        draft.rename(directory)  # replaces an empty directory, and nothing else
    except OSError as error:
        os.close(fd)
        _remove_tree(draft)
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return None
        raise
    return fd


def _remove_dead(directory: Path) -> bool:
    """Remove what a dead testbed left; False if this one lives, or another is doing it."""
    if directory.name.startswith(_GRAVE):
        _remove_tree(directory)
        return True
    try:
        fd = os.open(directory / "lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        # Nothing, or a draft that has no lock yet: rmdir, since it may get one at any moment.
        with contextlib.suppress(OSError):
            directory.rmdir()
        return True
    try:
        if not _try_lock(fd):
            return False
        remove(directory, fd)
        return True
    finally:
        os.close(fd)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(fd: int, path: Path) -> bool:
    """Whether a path still names the open file."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    mine = os.fstat(fd)
    return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)


def running() -> list[Entry]:
    """All testbeds that live; what a dead one left is removed."""
    entries = []
    for directory in sorted(runtime_directory().iterdir()):
        if not directory.is_dir() or _remove_dead(directory) or directory.name.startswith("."):
            continue
        about: dict[str, Any] = {}
        with contextlib.suppress(FileNotFoundError, ValueError):
            about = json.loads((directory / "about.json").read_text())
        entries.append(Entry(directory.name, directory, about))
    return entries


def find(name: str | None) -> Entry:
    """A running testbed by its name; None is the only one.

    Raises:
        NotFoundError: there is none of that name, none at all, or more than one.
    """
    entries = running()
    names = ", ".join(entry.name for entry in entries)
    if name is None:
        if len(entries) == 1:
            return entries[0]
        if not entries:
            raise NotFoundError("no testbed runs", hint="start one: testbed up 1p1d")
        raise NotFoundError(f"several testbeds run: {names}", hint="say which one")
    for entry in entries:
        if entry.name == name:
            return entry
    crashed = crash_log(runtime_directory() / name)
    if crashed.exists():
        raise NotFoundError(
            f"the testbed {name!r} has failed and is gone",
            hint=f"{crashed} holds what its supervisor said; `testbed up` may use the name again",
        )
    raise NotFoundError(
        f"no testbed named {name!r} runs",
        hint=suggestion(name, [entry.name for entry in entries])
        if entries
        else "none runs; start one: testbed up 1p1d",
    )


def crash_log(directory: Path) -> Path:
    """Where the supervisor of a testbed says why it failed, if it does."""
    return directory.with_name(f"{_CRASHED}{directory.name}")


def remove(directory: Path, lock: int) -> None:
    """Forget a testbed.

    Args:
        directory: its directory; left alone if it is no longer the one with this lock.
        lock: descriptor of its lock, which the caller holds.
    """
    if not _is_at(lock, directory / "lock"):
        return
    grave = directory.with_name(f"{_GRAVE}{os.urandom(8).hex()}")
    with contextlib.suppress(FileNotFoundError):
        directory.rename(grave)
    _remove_tree(grave)


def _remove_tree(directory: Path) -> None:
    import shutil  # not free, and most commands find nothing to remove

    shutil.rmtree(directory, ignore_errors=True)
