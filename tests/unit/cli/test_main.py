"""The group of verbs: help, suggestions, exit statuses, failures as text and as JSON."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from testbed.cli import main as cli
from testbed.errors import NotFoundError, exit_statuses

ROOT = Path(__file__).resolve().parents[3]
Testbed = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def testbed(tmp_path: Path) -> Testbed:
    """Runs the command with an empty runtime directory."""

    def run(
        *arguments: str, path: str = "", module: str = "testbed.cli.main", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=tmp_path,
            env={
                "PATH": "/usr/bin:/bin",
                "XDG_RUNTIME_DIR": str(tmp_path),
                "PYTHONPATH": os.pathsep.join(filter(None, [path, str(ROOT)])),
                **environment,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_the_command_alone_names_three_commands_to_try() -> None:
    ended = CliRunner().invoke(cli.command, [])
    assert ended.exit_code == 0
    tried = [line.split()[:2] for line in ended.output.splitlines() if line.startswith("  testbed")]
    assert len(tried) == 3
    assert all(verb in cli.VERBS for _, verb in tried)


def test_help_lists_every_verb_and_every_exit_status() -> None:
    ended = CliRunner().invoke(cli.command, ["--help"])
    words = [line.split()[0] for line in ended.output.splitlines() if line.strip()]
    assert set(cli.VERBS) <= set(words)
    assert {str(number) for number in exit_statuses()} <= set(words)


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_has_a_module_with_its_command(verb: str) -> None:
    group = cli.command
    assert isinstance(group, click.Group)
    found = group.get_command(click.Context(group), verb)
    assert isinstance(found, click.Command)
    assert found.name == verb
    assert found.help


def test_an_unknown_verb_gets_a_suggestion(testbed: Testbed) -> None:
    ended = testbed("topologie")
    assert ended.returncode == 2
    assert "did you mean topologies?" in ended.stderr
    assert ended.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "status", "message", "hint"),
    [
        (["up", "1p1dd"], 5, "there is no topology '1p1dd'", "did you mean 1p1d"),
        (["up", "single", "--set", "k"], 2, "'k' is not KEY=VALUE", "--set gpus=4"),
        (["up", "single", "--set", "k=1", "--set", "k=2"], 2, "given twice", "leave one"),
        (["up", "single", "--set", "bw=1fast"], 2, "not a unit of rate", "Mbit"),
        (["up", "single", "--mtu", "5"], 2, "an MTU of 5 bytes", "576"),
        (["up", "single", "--name", "a/b", "--json"], 2, "'a/b' cannot name", "letters"),
        (["up", "dualpath", "--set", "s=9"], 3, "s=9 with gpus=8", "testbed topologies"),
        (["inspect"], 5, "no testbed runs", "testbed up"),
        (["inspect", "x"], 5, "no testbed named 'x'", "testbed up"),
        (["down"], 5, "no testbed runs", "testbed up"),
        (["down", "x", "--all"], 2, "both --all and 'x'", "leave one out"),
        (["shell"], 2, "[NAME] NODE", "testbed ls"),
        (["exec", "h1", "ls"], 125, "no command to run", "behind --"),
        (["exec", "h1", "--"], 125, "no command to run", "behind --"),
        (["exec", "h1", "--", "ls"], 125, "no testbed runs", "testbed up"),
        (["exec", "a", "b", "c", "--", "ls"], 125, "[NAME] NODE", "testbed ls"),
    ],
)
def test_a_failure_is_one_message_a_hint_and_its_status(
    arguments: list[str], status: int, message: str, hint: str, testbed: Testbed
) -> None:
    ended = testbed(*arguments)
    assert ended.returncode == status, ended.stderr
    if "--json" in arguments:
        error = json.loads(ended.stdout)["error"]
        assert error["exit_status"] == status
        assert message in error["message"] and hint in error["hint"]
        assert ended.stderr == ""
        return
    first, *rest = ended.stderr.splitlines()
    assert first.startswith("testbed: ") and message in first
    assert hint in "\n".join(rest)
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr


def test_with_json_a_usage_error_is_an_object_too(testbed: Testbed) -> None:
    ended = testbed("up", "--nme", "x", "--json")
    assert ended.returncode == 2
    error = json.loads(ended.stdout)["error"]
    assert (error["kind"], error["exit_status"]) == ("usage", 2)
    assert "--nme" in error["message"] and "testbed up --help" in error["hint"]


def test_json_behind_the_double_dash_is_the_programs(testbed: Testbed) -> None:
    ended = testbed("exec", "h1", "--", "ip", "--json")
    assert ended.returncode == 125
    assert ended.stdout == ""


@pytest.mark.parametrize("name", ["agents", "topologies"])
def test_a_package_of_the_same_name_in_the_way_is_told(
    name: str, testbed: Testbed, tmp_path: Path
) -> None:
    package = tmp_path / "other" / name
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    ended = testbed("topologies", path=str(package.parent))
    assert ended.returncode == 6
    assert f"another package called {name!r} is in the way: {package}" in ended.stderr


def test_no_testbeds_is_an_empty_list_not_a_failure(testbed: Testbed) -> None:
    shown = testbed("ls")
    assert (shown.returncode, shown.stdout) == (0, "")
    assert "no testbed runs" in shown.stderr
    assert json.loads(testbed("ls", "--json").stdout) == {"testbeds": []}
    assert json.loads(testbed("down", "--all", "--json").stdout) == {"ended": []}


def test_a_dry_run_prints_the_plan_and_makes_nothing(testbed: Testbed, tmp_path: Path) -> None:
    shown = testbed("up", "single", "--dry-run")
    assert shown.returncode == 0
    assert shown.stdout.startswith("topology single")
    plan = json.loads(testbed("up", "single", "--set", "k=3", "--dry-run", "--json").stdout)
    assert list(plan["domains"]) == ["h1", "h2", "h3"]
    assert {"type": "namespace", "name": "fabric", "host": "local"} in plan["elements"]
    assert json.loads(testbed("ls", "--json").stdout) == {"testbeds": []}


def test_the_settings_of_links_reach_the_plan(testbed: Testbed) -> None:
    options = ["--mtu", "1500", "--queue-packets", "77", "--arbitration", "fifo"]
    plan = json.loads(testbed("up", "single", *options, "--dry-run", "--json").stdout)
    veths = [one for one in plan["elements"] if one["type"] == "veth"]
    assert {one["mtu"] for one in veths} == {1500}
    leaves = [one for one in plan["elements"] if one["type"] == "class" and one["queue_packets"]]
    assert {one["queue_packets"] for one in leaves} == {77}


def test_topologies_lists_names_and_defaults(testbed: Testbed) -> None:
    listed = json.loads(testbed("topologies", "--json").stdout)["topologies"]
    by_name = {one["name"]: one for one in listed}
    assert {"dualpath", "single", "linear", "tree", "1p1d", "2p4d"} <= by_name.keys()
    assert by_name["2p4d"]["parameters"]["decode"]["default"] == 4
    assert by_name["2p4d"]["preset_of"] == "dualpath"
    shown = testbed("topologies").stdout
    assert "k=2, bw=100.0" in shown


def test_output_to_nobody_ends_quietly(testbed: Testbed, tmp_path: Path) -> None:
    ended = subprocess.run(
        [
            "bash",
            "-c",
            'set -o pipefail; "$0" -m testbed.cli.main topologies | true',
            sys.executable,
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT), "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stderr == ""


def test_a_shipped_scenario_is_printed_as_a_start_for_ones_own(
    testbed: Testbed, tmp_path: Path
) -> None:
    shown = testbed("scenarios", "demo")
    assert shown.stdout == (ROOT / "agents" / "scenarios" / "demo.yaml").read_text()
    (tmp_path / "mine.yaml").write_text(shown.stdout)
    predicted = testbed("predict", "mine.yaml", "--json")
    assert json.loads(predicted.stdout)["scenario"] == "demo"
    unknown = testbed("scenarios", "dmeo")
    assert unknown.returncode == NotFoundError.exit_status
    assert "did you mean demo?" in unknown.stderr


def test_ctrl_c_while_it_is_being_loaded_ends_it_without_a_traceback(
    testbed: Testbed, tmp_path: Path
) -> None:
    (tmp_path / "click.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nprint('went on')\n"
    )
    ended = testbed("ls", path=str(tmp_path), module="testbed.cli.start")
    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGINT, "", "")
