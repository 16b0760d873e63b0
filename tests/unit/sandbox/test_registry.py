"""Where running testbeds are registered: names, locks, what dead ones leave."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.errors import ConflictError, NotFoundError, UnsupportedError, UsageError
from testbed.sandbox import registry


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    base = tempfile.mkdtemp(prefix="tb-")  # short: it is part of a socket's path
    monkeypatch.setenv("XDG_RUNTIME_DIR", base)
    yield Path(base) / "testbed"
    shutil.rmtree(base)


def test_a_claimed_name_runs_until_its_lock_is_given_up(runtime: Path) -> None:
    directory, lock = registry.claim("one")
    assert directory == runtime / "one"
    assert [entry.name for entry in registry.running()] == ["one"]
    os.close(lock)
    assert registry.running() == []
    assert list(runtime.iterdir()) == []


def test_a_name_is_taken_once() -> None:
    _, lock = registry.claim("one")
    with pytest.raises(ConflictError, match="'one' runs already"):
        registry.claim("one")
    assert [entry.name for entry in registry.running()] == ["one"]
    os.close(lock)


def test_what_a_dead_one_left_is_replaced(runtime: Path) -> None:
    directory, lock = registry.claim("one")
    (directory / "about.json").write_text('{"topology": "old"}')
    os.close(lock)
    _, lock = registry.claim("one")
    (entry,) = registry.running()
    assert entry.about == {}
    assert [path.name for path in runtime.iterdir()] == ["one"]
    os.close(lock)


@pytest.mark.parametrize(
    ("name", "files"),
    [(".new-1", []), (".new-1", ["lock"]), (".old-1", ["about.json"]), ("one", [])],
)
def test_half_made_and_half_removed_ones_go(runtime: Path, name: str, files: list[str]) -> None:
    directory = registry.runtime_directory() / name
    directory.mkdir()
    for file in files:
        (directory / file).touch()
    assert registry.running() == []
    assert list(runtime.iterdir()) == []


def test_only_the_holder_of_the_lock_removes() -> None:
    directory, old = registry.claim("one")
    registry.remove(directory, old)
    directory, lock = registry.claim("one")
    registry.remove(directory, old)  # a late one, whose place is another's by now
    assert [entry.name for entry in registry.running()] == ["one"]
    registry.remove(directory, lock)
    assert registry.running() == []
    os.close(old)
    os.close(lock)


def test_many_at_once_take_a_name_in_turn_and_none_is_lost() -> None:
    held: list[int] = []
    most = 0
    guard = threading.Lock()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            registry.running()

    def take() -> None:
        nonlocal most
        for _ in range(20):
            with contextlib.suppress(ConflictError):
                directory, lock = registry.claim("one")
                with guard:
                    held.append(lock)
                    most = max(most, len(held))
                assert registry.running()[0].directory == directory
                with guard:
                    held.remove(lock)
                registry.remove(directory, lock)
                os.close(lock)

    failures: list[BaseException] = []

    def guarded(work: object) -> None:
        try:
            work()  # type: ignore[operator]
        except BaseException as error:
            failures.append(error)

    looker = threading.Thread(target=guarded, args=(look,))
    takers = [threading.Thread(target=guarded, args=(take,)) for _ in range(4)]
    looker.start()
    for taker in takers:
        taker.start()
    for taker in takers:
        taker.join()
    done.set()
    looker.join()
    assert failures == []
    assert most == 1


@pytest.mark.parametrize("name", ["", ".hidden", "-x", "a/b", "a b", "..", "é"])
def test_a_name_that_is_no_file_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a testbed"):
        registry.claim(name)


def test_the_longest_name_fits_and_a_longer_one_is_refused(runtime: Path) -> None:
    room = 107 - len(os.fsencode(runtime / "x" / "control.sock")) + 1
    _, lock = registry.claim("n" * room)
    os.close(lock)
    with pytest.raises(UsageError, match="108 bytes long; Linux allows 107") as refusal:
        registry.claim("n" * (room + 1))
    assert "1 shorter" in refusal.value.hint


def test_everything_is_private() -> None:
    directory, lock = registry.claim("one")
    for path in (directory.parent, directory):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    os.close(lock)


def test_a_runtime_directory_open_to_others_is_refused(runtime: Path) -> None:
    runtime.mkdir(mode=0o755)
    runtime.chmod(0o755)
    with pytest.raises(UnsupportedError, match="not a private directory"):
        registry.running()


def test_a_runtime_directory_that_is_a_link_is_refused(runtime: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    runtime.symlink_to(tmp_path)
    with pytest.raises(UnsupportedError, match="not a private directory"):
        registry.running()


def test_a_runtime_directory_that_cannot_be_made_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "file"))
    with pytest.raises(UnsupportedError, match="Not a directory") as refusal:
        registry.running()
    assert "XDG_RUNTIME_DIR" in refusal.value.hint


def test_a_place_that_the_sandbox_hides_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/dev/shm/somewhere")
    with pytest.raises(UnsupportedError, match="cannot be seen from inside"):
        registry.running()
    assert not Path("/dev/shm/somewhere").exists()


def test_without_a_name_the_only_one_is_meant() -> None:
    with pytest.raises(NotFoundError, match="no testbed runs"):
        registry.find(None)
    _, first = registry.claim("alpha")
    assert registry.find(None).name == "alpha"
    _, second = registry.claim("beta")
    with pytest.raises(NotFoundError, match="several testbeds run: alpha, beta"):
        registry.find(None)
    os.close(first)
    os.close(second)


def test_an_unknown_name_gets_a_suggestion() -> None:
    _, lock = registry.claim("alpha")
    with pytest.raises(NotFoundError) as refusal:
        registry.find("alpa")
    assert refusal.value.hint == "did you mean alpha?"
    os.close(lock)
