"""What is imported when: by a command that has little to do, and by the topologies."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Runs the command line in-process and prints what that added to sys.modules.
PROBE = """
import json, sys
before = set(sys.modules)
status = 0
try:
    from testbed.cli.main import main
    sys.argv = ["testbed", *json.loads(sys.argv[1])]
    main()
except SystemExit as end:
    status = end.code
print("\\n" + json.dumps({"status": status, "loaded": sorted(set(sys.modules) - before)}))
"""


@pytest.mark.parametrize(
    ("arguments", "succeeds"),
    [
        ([], True),
        (["--help"], True),
        (["ls"], True),
        (["no-such-verb"], False),
        (["up", "--no-such-option"], False),
    ],
)
def test_a_command_with_little_to_do_imports_click_and_the_standard_library(
    arguments: list[str], succeeds: bool, tmp_path: Path
) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps(arguments)],
        cwd=ROOT,
        env={"XDG_RUNTIME_DIR": str(tmp_path), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    seen = json.loads(ended.stdout.splitlines()[-1])
    packages = {name.partition(".")[0] for name in seen["loaded"]}
    # Of a package with verbs of its own, the table of them and nothing else.
    tables = {name for name in seen["loaded"] if name.partition(".")[0] == "agents"}
    assert tables <= {"agents", "agents.cli", "agents.cli.verbs"}
    assert packages - sys.stdlib_module_names - {"agents"} == {"click", "testbed"}
    assert (seen["status"] in (0, None)) == succeeds, ended.stdout + ended.stderr


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: `mn --custom` loads this file outside its package"
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("path", sorted((ROOT / "topologies").glob("*.py")), ids=lambda p: p.name)
def test_a_topology_imports_the_standard_library_and_mininet_topo(path: Path) -> None:
    for name in _imports(path):
        package = name.partition(".")[0]
        allowed = package in sys.stdlib_module_names or package == "topologies"
        assert allowed or name in ("mininet.topo", "mininet.topolib"), name
