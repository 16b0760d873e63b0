"""The notebook's cells run, one after the other; nothing of Jupyter is needed for that."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "scripts" / "examples" / "reading_runs.ipynb"
STORED = ROOT / "tests" / "data" / "run-layout-1"

# Runs cells as a kernel does, and shows what the last expression of each is.
RUNNER = """
import ast, json, sys
names = {}
for cell in json.load(open(sys.argv[1]))["cells"]:
    if cell["cell_type"] != "code":
        continue
    tree = ast.parse("".join(cell["source"]))
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, cell["id"], "exec"), names)
    if last is not None:
        value = eval(compile(ast.Expression(last.value), cell["id"], "eval"), names)
        show = getattr(value, "_repr_svg_", None) or (lambda: repr(value))
        print(json.dumps([cell["id"], show()]))
"""


def shown(directory: Path) -> dict[str, str]:
    """What every cell shows, by the cell's id, with `directory` as the working directory."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    ended = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", RUNNER, str(NOTEBOOK)],
        cwd=directory, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return dict(json.loads(line) for line in ended.stdout.splitlines())


def test_every_cell_runs_on_a_stored_run(tmp_path: Path) -> None:
    shutil.copytree(STORED, tmp_path / "runs" / "20261125-demo")
    below = tmp_path / "scripts" / "examples"  # as Jupyter starts it, below the checkout's runs
    below.mkdir(parents=True)
    found = shown(below)
    assert set(found) == {"find", "reasons", "table", "change", "requests", "nics", "draw", "own"}
    assert "('20261125-demo', 1, 'PASS')" in found["find"]
    assert "kv_load_bps" in found["table"]
    assert "value=1.249" in found["change"]
    assert "shorter-queue" in found["requests"]
    for figure in ("draw", "own"):
        assert found[figure].startswith("<svg") and "shorter-queue" in found[figure]


def test_the_notebook_is_well_formed_and_has_no_output_of_anybodys_machine() -> None:
    notebook: dict[str, Any] = json.loads(NOTEBOOK.read_text())
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)
    imported = set()
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
            for node in ast.walk(ast.parse("".join(cell["source"]))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                imported |= {name.partition(".")[0] for name in names}
    # What every installation has: `polars` is in setup.cfg's install_requires.
    assert imported - sys.stdlib_module_names == {"polars", "testbed"}
