"""``agent serve``: what it says, how it ends, and one line for everything that stops it from starting."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from agent.store.keys import Keyring
from tests.study.agents import settings_for, wait_until


def command(data: Path, *options: str, start_new_session: bool = False, **environment: str) -> subprocess.Popen[bytes]:
    values = {
        "AGENT_DICOM__PORT": "0", "AGENT_DICOM__HOST": "127.0.0.1", "AGENT_DICOM__RECEIVERS": "1", "AGENT_QC__WORKERS": "1",
        "AGENT_WEB__PORT": "0", "AGENT_KEYS__FILE": str(data.parent / "agent.key"), **environment,
    }  # fmt: skip
    with (data.parent / "serve.log").open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "agent", "serve", "--data", str(data), *options],
            env={**os.environ, **values}, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=start_new_session,
        )  # fmt: skip


def refused(data: Path, *options: str, **environment: str) -> str:
    process = command(data, *options, **environment)
    assert process.wait(60) == 3, (data.parent / "serve.log").read_text()
    lines = (data.parent / "serve.log").read_text().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_it_says_where_it_listens_counts_in_all_processes_and_ends_in_order(tmp_path: Path) -> None:
    data = settings_for(tmp_path).data_dir
    process = command(data)
    try:
        log = tmp_path / "serve.log"
        wait_until(lambda: "agent: ready." in log.read_text(), "the line that says ready")
        said = log.read_text()
        assert "made the key file" in said
        assert "dashboard http://127.0.0.1:" in said
        body = json.loads((data / "run" / "ready.json").read_text())
        assert body["ready"]
        assert list((data / "run" / "metrics").glob(f"*_{process.pid}.db"))
        process.send_signal(signal.SIGUSR1)
        wait_until(lambda: "--- thread heartbeat" in log.read_text(), "named stacks")
        process.send_signal(signal.SIGINT)
        assert process.wait(40) == 0
        assert log.read_text().count("stopping; a second Ctrl-C hurries") == 1
        assert not json.loads((data / "run" / "ready.json").read_text())["ready"]
    finally:
        process.kill()
        process.wait(10)


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    data = settings_for(tmp_path).data_dir
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert port in refused(data, "--no-web", AGENT_DICOM__PORT=port)


def test_a_port_in_use_for_the_dashboard_is_named_before_it_is_ready(tmp_path: Path) -> None:
    data = settings_for(tmp_path).data_dir
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert f"cannot listen on 127.0.0.1:{port}" in refused(data, AGENT_WEB__PORT=port)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_processes_at_once_is_an_ordinary_stop(tmp_path: Path, number: signal.Signals) -> None:
    data = settings_for(tmp_path).data_dir
    process = command(data, start_new_session=True)
    log = tmp_path / "serve.log"
    try:
        wait_until(lambda: "agent: ready." in log.read_text(), "the line that says ready")
        wait_until(lambda: json.loads((data / "run" / "ready.json").read_text())["workers"], "a worker")
        os.killpg(process.pid, number)
        assert process.wait(60) == 0
        said = log.read_text()
        assert not [word for word in ("died", "recovered", "rebuilt", "warning", "Traceback") if word in said], said
    finally:
        process.kill()
        process.wait(10)


def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "data"
    blocked.write_text("a file where the folder should be")
    assert "cannot be written" in refused(blocked)


def test_a_wrong_key_is_named(tmp_path: Path) -> None:
    data = settings_for(tmp_path).data_dir
    process = command(data, "--no-web")
    wait_until(lambda: "agent: ready." in (tmp_path / "serve.log").read_text(), "ready")
    process.terminate()
    assert process.wait(40) == 0
    key = tmp_path / "agent.key"
    key.chmod(0o600)
    text = key.read_bytes().strip()
    key.write_bytes(bytes(reversed(text)) + b"\n")
    assert refused(data, "--no-web")


@pytest.mark.parametrize("value", ["nowhere", ""])
def test_a_cloud_without_a_usable_bucket_is_refused(tmp_path: Path, value: str) -> None:
    data = settings_for(tmp_path).data_dir
    address = {"AGENT_CLOUD__BUCKET": value, "AGENT_CLOUD__ENDPOINT_URL": "http://example.org"} if value else {}
    line = refused(data, "--no-web", AGENT_CLOUD__ADAPTER="s3", **address)
    assert "cloud" in line


def test_what_the_check_of_the_settings_refuses_stops_the_start(tmp_path: Path) -> None:
    data = settings_for(tmp_path).data_dir
    assert "Did you mean Europe/Berlin?" in refused(data, AGENT_WEB__TIME_ZONE="Europe/Berln")


def test_a_lost_key_is_named_with_the_only_remedy(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    Keyring.open(settings, create=True)
    (tmp_path / "agent.key").unlink()
    line = refused(settings.data_dir, "--no-web")
    assert f"was made with a key that is missing ({tmp_path / 'agent.key'}). Restore your copy" in line
    assert "keys init" not in line
