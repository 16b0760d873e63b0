"""The tree of exceptions and its table of exit statuses."""

from __future__ import annotations

import errno
import inspect
from collections.abc import Iterator

import pytest

from testbed import errors


def _tree(cls: type[errors.TestbedError]) -> Iterator[type[errors.TestbedError]]:
    yield cls
    for inner in cls.__subclasses__():
        if inner.__module__ == errors.__name__:
            yield from _tree(inner)


CLASSES = list(_tree(errors.TestbedError))


def test_each_kind_of_error_has_a_status_and_a_name_of_its_own() -> None:
    statuses = [cls.exit_status for cls in CLASSES]
    kinds = [cls.kind for cls in CLASSES]
    assert len(set(statuses)) == len(statuses)
    assert len(set(kinds)) == len(kinds)


def test_no_error_ends_a_command_like_success_exec_or_a_signal() -> None:
    taken = {0, errors.EXEC_FAILED, errors.EXEC_NOT_EXECUTABLE, errors.EXEC_NOT_FOUND}
    for cls in CLASSES:
        assert cls.exit_status not in taken
        assert cls.exit_status < 125


def test_a_subclass_for_a_parts_own_use_changes_nothing_in_the_table() -> None:
    before = errors.exit_statuses()

    class HeaderError(errors.TestbedError):
        """Only known to the part that defines it."""

    assert HeaderError("bad magic").exit_status == errors.TestbedError.exit_status
    assert errors.exit_statuses() == before


def test_the_table_names_every_status_once_in_order() -> None:
    table = errors.exit_statuses()
    assert list(table) == sorted(table)
    assert set(table) == {cls.exit_status for cls in CLASSES} | {0, 125, 126, 127, 130}
    assert all(meaning and "\n" not in meaning for meaning in table.values())
    assert table[errors.ScenarioError.exit_status] == inspect.getdoc(errors.ScenarioError)


def test_a_full_file_system_is_told_with_the_file_if_it_is_known() -> None:
    full = errors.no_space(OSError(errno.ENOSPC, "No space left on device", "runs/x/run.json"))
    assert full is not None
    assert full.message == "runs/x/run.json: No space left on device: the file system is full"
    assert errors.no_space(OSError(errno.EDQUOT, "Disk quota exceeded")) is not None
    rust = errors.no_space(RuntimeError("parquet: No space left on device (os error 28)"))
    assert rust is not None and rust.message == "No space left on device: the file system is full"
    assert errors.no_space(OSError(errno.EACCES, "Permission denied")) is None
    assert errors.no_space(None) is None


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_prints_its_message_and_its_hint(cls: type[errors.TestbedError]) -> None:
    assert str(cls("no node pe9")) == "no node pe9"
    assert str(cls("no node pe9", hint="see `testbed inspect`")).splitlines() == [
        "no node pe9",
        "see `testbed inspect`",
    ]


def test_a_path_that_this_user_cannot_use_is_no_defect() -> None:
    refused = errors.unusable_path(PermissionError(errno.EACCES, "Permission denied", "/root/x"))
    assert refused is not None
    assert refused.message == "/root/x: Permission denied"
    assert errors.unusable_path(OSError(errno.ENAMETOOLONG, "File name too long", "x")) is not None
    assert errors.unusable_path(PermissionError(errno.EPERM, "Operation not permitted")) is None
    assert errors.unusable_path(OSError(errno.EBADF, "Bad file descriptor", "x")) is None
    assert errors.unusable_path(None) is None
