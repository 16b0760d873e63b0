from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from testbed.errors import NotFoundError, UnsupportedError
from testbed.fidelity.checks import Check
from testbed.fidelity.verdict import judge
from testbed.results import layout
from testbed.results.load import load
from testbed.results.writer import write_json, write_tables


class Request(msgspec.Struct):
    request: int


@pytest.fixture
def run(tmp_path: Path) -> Path:
    document = {"layout_version": layout.LAYOUT_VERSION, "policies": {"pe-only": {"summary": {}}}}
    write_json(tmp_path / layout.RUN, document)
    verdict = judge([Check("no drop", "pe-only", None, "not measured", "0", "no samples")])
    write_json(tmp_path / layout.VERDICT, verdict)
    write_tables(layout.table_path(tmp_path, "requests"), {"pe-only": [Request(7)]})
    return tmp_path


def test_what_was_written_is_read(run: Path) -> None:
    found = load(run)
    assert found.tables == ["requests"]
    assert found.requests.to_dicts() == [{"policy": "pe-only", "request": 7}]
    assert found.requests is found.requests
    assert found.policies == {"pe-only": {"summary": {}}}
    assert found.verdict.status == "FAIL"
    assert found.verdict.checks[0].ok is None


def test_a_missing_table_names_those_there_are(run: Path) -> None:
    with pytest.raises(NotFoundError, match="transfers") as raised:
        _ = load(run).transfers
    assert "requests" in raised.value.hint


def test_a_newer_layout_is_refused(run: Path) -> None:
    write_json(run / layout.RUN, {"layout_version": layout.LAYOUT_VERSION + 1})
    with pytest.raises(UnsupportedError, match=f"version {layout.LAYOUT_VERSION + 1}") as raised:
        load(run)
    assert "upgrade" in raised.value.hint


@pytest.mark.parametrize("content", [b"{}", b'{"layout_version": "1"}', b"{", b"[]"])
def test_a_file_that_is_no_run_is_refused(run: Path, content: bytes) -> None:
    (run / layout.RUN).write_bytes(content)
    with pytest.raises(NotFoundError, match=r"run\.json"):
        load(run)


@pytest.mark.parametrize("file", [layout.RUN, layout.VERDICT])
def test_a_missing_file_is_named(run: Path, file: str) -> None:
    (run / file).unlink()
    with pytest.raises(NotFoundError, match=file):
        load(run)
