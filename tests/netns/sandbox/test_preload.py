"""Modules that are imported before a program is forked, and who sees them.  h1 ── s1 ── h2"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.errors import ProgramError
from testbed.lab import Lab
from testbed.sandbox.program import Program
from topologies.single import SingleTopo

pytestmark = pytest.mark.user

# Each import leaves a line behind; what is there at the import stays in the module.
LARGE = """
import os, sys
from pathlib import Path
with Path(__file__).with_suffix(".imports").open("a") as file:
    print("imported", file=file)
FOUND = os.environ.get("MARK")
"""
PROBE = """
import os, sys
print(sys.argv[1:], __name__, "probe" in sys.modules, os.environ.get("MARK"))
if __name__ == "__main__":
    print("large" in sys.modules, sys.path[0] == os.path.dirname(__file__))
    import large
    print(large.FOUND)
"""


@pytest.fixture
def fresh() -> Iterator[Lab]:
    """A testbed in which nothing has been preloaded."""
    with Lab(SingleTopo(k=2)) as made:
        yield made


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "large.py").write_text(LARGE)
    (tmp_path / "probe.py").write_text(PROBE)
    return tmp_path


def imports(place: Path) -> int:
    """How often `large` was imported."""
    return len((place / "large.imports").read_text().splitlines())


def output(lab: Lab, program: Program) -> list[str]:
    """What a program prints; it ends well, and warns of nothing."""
    with lab.start(program) as process:
        out, err = process.communicate()
    assert (process.status, err) == (0, b"")
    return out.decode().splitlines()


def probe(
    place: Path, *, preload: tuple[str, ...] = (), mark: str = "a", fork: bool = True
) -> Program:
    return Program(
        ("x",), "h1", module="probe", module_path=(str(place),), preload=preload,
        environment={"MARK": mark}, fork=fork,
    )  # fmt: skip


def test_programs_find_what_is_imported_once_for_all_of_them(fresh: Lab, place: Path) -> None:
    asked = ("large", "probe")
    for _ in range(3):
        said = output(fresh, probe(place, preload=asked))
        assert said == ["['x'] __main__ False a", "True True", "a"]
    assert imports(place) == 1
    # But for what it has not had to import, a program is as it would be without.
    assert output(fresh, probe(place, preload=asked, fork=False)) == [
        said[0], "False True", "a"
    ]  # fmt: skip
    assert imports(place) == 2


def test_nobody_else_finds_it(fresh: Lab, place: Path) -> None:
    output(fresh, probe(place, preload=("large",)))
    for other in (
        probe(place),
        probe(place, preload=("large", "probe")),
        probe(place, preload=("large",), mark="b"),
    ):
        said = output(fresh, other)
        assert said == [f"['x'] __main__ False {other.environment['MARK']}", "False True", said[2]]
        assert said[2] == other.environment["MARK"]
    assert imports(place) == 4
    shown = fresh["h1"].run(["env"]).stdout.splitlines()
    assert not any(line.startswith("MARK=") for line in shown)
    assert f"PATH={os.environ['PATH']}" in shown


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        (
            "import threading\n"
            "threading.Thread(target=threading.Event().wait, daemon=True).start()",
            "importing wrong starts threads (1)",
        ),
    ],
    ids=["not there", "ends", "threads"],
)
def test_what_cannot_be_preloaded_is_refused_and_harms_nobody_else(
    fresh: Lab, place: Path, body: str, said: str
) -> None:
    (place / "wrong.py").write_text(body)
    for _ in range(2):
        with pytest.raises(ProgramError) as refusal:
            fresh.start(probe(place, preload=("wrong",)))
        assert said in refusal.value.message
        assert "preload" in refusal.value.hint
    assert output(fresh, probe(place))[0] == "['x'] __main__ False a"
    assert fresh["h2"].run(["true"]).status == 0
