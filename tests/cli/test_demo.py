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


@pytest.mark.timeout(240)
def test_one_study_is_delivered_and_one_stays_incomplete(tmp_path: Path) -> None:
    demo = start(tmp_path, "--studies", "2", "--exit-when-done", AGENT_DICOM__AE_TITLE="OTHER_TITLE")
    output, _ = demo.communicate(timeout=220)
    assert demo.returncode == 0, output
    assert "DICOM OTHER_TITLE on 127.0.0.1:" in output  # AGENT_* of the user is honoured
    assert re.search(r"dashboard http://127\.0\.0\.1:\d+/", output)
    assert "demo (reviewer), one-time password" in output
    assert re.search(r"DEMO\^ALPHA .*processing -> delivered", output)
    assert "2 of 2 studies ended as expected" in output
    assert not list(tmp_path.glob("agent*"))  # everything is in the demo's own folder
    assert {p.name for p in tmp_path.iterdir()} == {"demo", "probe"}


@pytest.mark.timeout(240)
def test_ctrl_c_ends_every_process_it_started(tmp_path: Path) -> None:
    demo = start(tmp_path, "--studies", "1")
    assert demo.stdout is not None
    for line in demo.stdout:
        if "Ctrl-C" in line:
            break
    started = psutil.Process(demo.pid).children(recursive=True)
    assert len(started) >= 5  # S3 server, analysis, engine, receiver, web
    demo.send_signal(signal.SIGINT)
    rest = demo.stdout.read()
    assert demo.wait(60) == 0, rest
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
