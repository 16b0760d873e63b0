"""`testbed run` as a user types it: what is printed, what is written, how it ends.

storage ══ pe0 (1 engine) ══ de0 (1 engine) ══ storage
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.small import small_demo
from tests.netns.sandbox import traces

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """What the command runs with: a runtime directory of its own, empty in the end."""
    runtime = tempfile.mkdtemp(prefix="tb-")  # short: it is part of a socket's path
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    yield {**os.environ, "XDG_RUNTIME_DIR": runtime, "PYTHONPATH": path}
    left = list((Path(runtime) / "testbed").iterdir())
    shutil.rmtree(runtime)
    assert left == []


def command(*arguments: str, **changes: str) -> list[str]:
    """The small demo by this checkout's command."""
    return [sys.executable, "-P", "-m", "testbed.cli.main", *small_demo(*arguments, **changes)]


def started(
    arguments: list[str], directory: Path, environment: dict[str, str]
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        arguments, cwd=directory, env=environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def await_line(process: subprocess.Popen[str], text: str) -> None:
    """Read its progress up to a line with a text."""
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if text in line:
            return
    raise AssertionError("".join(seen))


def only_run(directory: Path) -> Path:
    (run,) = (path for path in (directory / "runs").iterdir() if not path.is_symlink())
    return run


def documented(heading: str) -> set[str]:
    """The keys in the first column of the table behind a line of docs/run.md."""
    _, _, behind = (ROOT / "docs" / "run.md").read_text().partition(heading)
    table = behind[behind.index("\n|") :].partition("\n\n")[0]
    return {
        key for row in table.splitlines() for key in re.findall(r"`(\w+)`", row.split(" | ")[0])
    }


@pytest.mark.user
def test_a_run_prints_the_documented_object_and_writes_its_report(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    place = tmp_path / "blocks"
    place.mkdir()
    wanted = command(
        "--json", "--accept-unfaithful", storage__directory=str(place), calibration="true"
    )
    with started(wanted, tmp_path, environment) as process:
        out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    found: dict[str, Any] = json.loads(out)
    assert set(found) == documented("## The object of `--json`")
    assert list(found["policies"]) == ["pe-only", "shorter-queue"]
    for summary in found["policies"].values():
        assert set(summary) == documented("Per policy, ")
        assert summary["kv_load_bps"] > 0
        assert summary["requests_failed"] == 0
    assert found["bytes_verified"] == sum(s["bytes_verified"] for s in found["policies"].values())
    run = only_run(tmp_path)
    assert found["run"] == str(run.relative_to(tmp_path))
    calibrated = json.loads((run / "run.json").read_text())["calibration"]
    assert {link["kind"] for link in calibrated["links"]} == {"snic", "cnic", "mgmt"}
    checked = [check["name"] for check in json.loads((run / "verdict.json").read_text())["checks"]]
    assert checked.count("links calibrated") == 1
    assert checked.count("overhead of an idle request") == 2, "of each policy"
    page = (run / "report.html").read_text()
    figures = set(re.findall(r'id="figure-(\w+)"', page))
    assert figures == {
        "caps", "cluster", "utilisation", "timelines", "split", "waits", "requests"
    }  # fmt: skip
    assert "shorter-queue" in page
    assert {file.name for file in run.iterdir()} >= {
        "run.json", "verdict.json", "requests.parquet", "transfers.parquet", "nics.parquet"
    }  # fmt: skip
    assert list(place.iterdir()) == [], "storage leaves a user's directory as it was"


def test_a_run_that_may_not_be_believed_ends_with_its_status(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    # No two thirds of a run are that much alike.
    unsteady = command(policies="[pe-only]", window__tolerance="1e-12")
    with started(unsteady, tmp_path, environment) as process:
        out, err = process.communicate(timeout=100)
    assert process.returncode == 12, err
    assert out.startswith("FAIL")
    assert "the verdict on" in err and "--accept-unfaithful" in err


def test_a_report_that_cannot_be_written_costs_nothing_but_itself(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    wanted = command("--json", "--accept-unfaithful", policies="[pe-only]")
    with started(wanted, tmp_path, environment) as process:
        await_line(process, "pe-only: ")
        in_the_way = only_run(tmp_path) / "figures"
        in_the_way.write_text("not a directory")
        out, err = process.communicate(timeout=100)
    assert process.returncode == 13, err
    found = json.loads(out)
    run = only_run(tmp_path)
    said = f"the report of {run.relative_to(tmp_path)} was not written: "
    assert len(found["unwritten"]) == 1 and found["unwritten"][0].startswith(said)
    again = f"testbed report {run.relative_to(tmp_path)}"
    assert said in err and again in err and "Traceback" not in err
    assert json.loads((run / "verdict.json").read_text())["checks"]
    assert found["policies"]["pe-only"]["requests"] > 0
    assert not (run / "report.html").exists()
    in_the_way.unlink()
    again_written = [*command()[:4], "report", str(run)]
    subprocess.run(again_written, cwd=tmp_path, env=environment, check=True, timeout=100)
    assert (run / "report.html").is_file()


def test_what_the_machine_cannot_carry_is_refused_before_anything_is_made(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    with started(command("--json", scale__rate="10"), tmp_path, environment) as process:
        out, err = process.communicate(timeout=100)
    assert process.returncode == 8, err
    assert json.loads(out)["error"]["kind"] == "capacity"
    assert list((tmp_path / "runs").iterdir()) == []


def test_ctrl_c_in_the_window_keeps_what_was_measured(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    with started(command("--json", duration="100s"), tmp_path, environment) as process:
        await_line(process, "pe-only: measure")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Warning" not in err
    found: dict[str, Any] = json.loads(out)
    assert found["verdict"] == "FAIL"
    assert "interrupted" in found["reasons"][0]
    assert not any("no window" in reason for reason in found["reasons"])
    assert list(found["policies"]) == ["pe-only"]
    opened, closed = found["policies"]["pe-only"]["window_s"]
    assert opened < closed
    assert found["policies"]["pe-only"]["kv_load_bps"] is not None
    assert (only_run(tmp_path) / "report.html").is_file()


def test_ctrl_c_while_the_next_policy_comes_up_keeps_the_last_one(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    with started(command("--json"), tmp_path, environment) as process:
        await_line(process, "shorter-queue: bring-up")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    found: dict[str, Any] = json.loads(out)
    assert list(found["policies"]) == ["pe-only"]
    assert found["policies"]["pe-only"]["kv_load_bps"] > 0
    assert "interrupted" in found["reasons"][0]
    assert (only_run(tmp_path) / "report.html").is_file()


def test_ctrl_c_before_the_window_says_so(tmp_path: Path, environment: dict[str, str]) -> None:
    slow = command("--json", window__warm_up="100s")
    with started(slow, tmp_path, environment) as process:
        await_line(process, "pe-only: warm-up")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Warning" not in err
    found: dict[str, Any] = json.loads(out)
    assert found["policies"]["pe-only"]["kv_load_bps"] is None
    assert any("interrupted before its window" in reason for reason in found["reasons"])


def test_a_second_signal_gives_up_what_the_first_one_waits_for(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    tag = secrets.token_hex(8)
    wanted = command(duration="100s")
    with started(wanted, tmp_path, environment | {"TESTBED_TAG": tag}) as process:
        await_line(process, "pe-only: measure")
        # It will not stop when it is told to.
        (storage,) = (one.pid for one in traces.processes(tag) if "storage" in one.command)
        os.kill(storage, signal.SIGSTOP)
        process.send_signal(signal.SIGTERM)
        await_line(process, "pe-only: stop")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    left = only_run(tmp_path).relative_to(tmp_path)
    assert err == f"testbed: interrupted\nwhat there is of the run by now is in {left}\n"
    traces.wait_until(lambda: not traces.processes(tag))


def test_a_testbed_that_is_ended_in_the_middle_says_where_the_part_of_a_run_is(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    with started(command(duration="100s"), tmp_path, environment) as process:
        await_line(process, "pe-only: measure")
        down = [sys.executable, "-P", "-m", "testbed.cli.main", "down", "--all"]
        subprocess.run(down, env=environment, check=True, capture_output=True)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 11, err
    assert "Traceback" not in err
    assert str(only_run(tmp_path).relative_to(tmp_path)) in err
