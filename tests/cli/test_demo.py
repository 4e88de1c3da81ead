"""`agent demo`, as a user starts it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from agent.demo.s3_server import S3Server
from agent.errors import ConfigError
from tests.s3 import start_server


@pytest.fixture(autouse=True)
def _weed(tmp_path: Path) -> None:
    start_server(tmp_path / "probe").stop()  # skips when the extra is not installed


def start(folder: Path, *arguments: str, **settings: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "AGENT_DICOM__PORT": "0", "AGENT_WEB__PORT": "0", **settings}
    command = [sys.executable, "-m", "agent", "demo", "--data", str(folder / "demo"), *arguments]
    return subprocess.Popen(
        command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def one_time_password(output: str) -> str:
    (found,) = re.findall(r"demo \(reviewer\), one-time password (\S+)", output)
    return str(found)


@pytest.mark.timeout(300)
def test_one_study_is_delivered_and_one_stays_incomplete(tmp_path: Path) -> None:
    demo = start(tmp_path, "--studies", "2", "--exit-when-done", AGENT_DICOM__AE_TITLE="OTHER_TITLE")
    output, _ = demo.communicate(timeout=220)
    assert demo.returncode == 0, output
    assert "DICOM OTHER_TITLE on 127.0.0.1:" in output  # AGENT_* of the user is honoured
    assert re.search(r"dashboard http://127\.0\.0\.1:\d+/", output)
    assert "demo (reviewer), one-time password" in output
    assert re.search(r"DEMO\^ALPHA is ANON\w+ at http://127\.0\.0\.1:\d+/studies/\w{16}\n", output)
    assert re.search(r"DEMO\^ALPHA +Delivered: report available for review", output)
    assert "preparing the kernels of quality control (first time only)" in output
    assert "the kernels of quality control are ready" in output
    assert "all 2 studies ended as expected" in output
    assert not list(tmp_path.glob("agent*"))  # everything is in the demo's own folder
    assert {p.name for p in tmp_path.iterdir()} == {"demo", "probe"}

    again = start(tmp_path, "--studies", "2", "--exit-when-done")
    second, _ = again.communicate(timeout=120)
    assert again.returncode == 0, second
    assert re.search(r"DEMO\^ALPHA +Delivered: already here, unchanged", second)
    assert re.search(r"DEMO\^BRAVO +Unstable: already here, unchanged", second)
    assert "images sent" not in second
    assert "preparing the kernels" not in second
    assert one_time_password(second) != one_time_password(output)  # whatever became of the first one


@pytest.mark.timeout(240)
def test_a_second_demo_is_refused_and_ctrl_c_ends_every_process_of_the_first(tmp_path: Path) -> None:
    demo = start(tmp_path, "--studies", "1")
    assert demo.stdout is not None
    for line in demo.stdout:
        if "Ctrl-C" in line:
            break
    started = psutil.Process(demo.pid).children(recursive=True)
    assert len(started) >= 5  # S3 server, analysis, engine, receiver, web
    other = start(tmp_path, "--studies", "1")
    told, _ = other.communicate(timeout=60)
    assert other.returncode == 3
    assert f"Another demo (process {demo.pid}) uses {tmp_path / 'demo'}. Stop it or choose another folder" in told
    demo.send_signal(signal.SIGINT)
    rest = demo.stdout.read()
    assert demo.wait(60) == 0, rest
    assert "demo: stopping, a few seconds ..." in rest
    _, alive = psutil.wait_procs(started, timeout=20)
    assert alive == []
    demo.stdout.close()


@pytest.mark.timeout(240)
def test_a_killed_demo_leaves_no_process_behind(tmp_path: Path) -> None:
    demo = start(tmp_path, "--studies", "1")
    assert demo.stdout is not None
    for line in demo.stdout:
        if "Ctrl-C" in line:
            break
    started = psutil.Process(demo.pid).children(recursive=True)
    demo.kill()
    demo.wait(20)
    _, alive = psutil.wait_procs(started, timeout=60)
    assert alive == []
    demo.stdout.close()


def test_a_folder_that_no_demo_made_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    demo = start(tmp_path)
    told, _ = demo.communicate(timeout=60)
    assert demo.returncode == 3
    assert "holds files that no demonstration made" in told
    assert [p.name for p in folder.iterdir()] == ["thesis.txt"]


def test_what_the_s3_server_says_when_it_fails_stays_in_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "weed"
    program.write_text("#!/bin/sh\necho 'panic: boom'\necho 'goroutine 1 [running]:'\nexit 2\n")
    program.chmod(0o755)
    monkeypatch.setattr("agent.demo.s3_server.find_weed", lambda: str(program))
    with pytest.raises(ConfigError) as caught:
        S3Server(tmp_path / "s3").start()
    assert "goroutine" not in str(caught.value)
    assert str(tmp_path / "s3" / "weed.log") in str(caught.value)
