"""``agent send`` from the shell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from agent.cli import agent
from tests.dicom_files import make_series, write_series
from tests.receiving.books import receiving


def test_a_folder_is_sent_and_summed_up(tmp_path: Path) -> None:
    write_series(tmp_path / "in", make_series(4))
    (tmp_path / "in" / "notes.txt").write_text("no image")
    with receiving(tmp_path) as stand:
        arguments = ["send", str(tmp_path / "in"), "--to", f"127.0.0.1:{stand.port}", "--called", "NEUROPACS_AGENT"]
        done = CliRunner().invoke(agent, [*arguments, "--associations", "2"], standalone_mode=False)
        assert done.return_value == 0
        assert "4 stored, 1 skipped" in done.output
        assert "status 0000: 4" in done.output
        done = CliRunner().invoke(agent, [*arguments, "--json"], standalone_mode=False)
        told = json.loads(done.output)
        assert told["counts"] == {"stored": 4, "skipped": 1}
        assert told["not_stored"][0]["path"].endswith("notes.txt")


def test_a_refusal_is_exit_1(tmp_path: Path) -> None:
    [path] = write_series(tmp_path / "in", make_series(1))
    path.write_bytes(path.read_bytes().replace(b"\x08\x00\x18\x00UI", b"\x08\x00\x19\x00UI"))
    with receiving(tmp_path) as stand:
        to = f"127.0.0.1:{stand.port}"
        done = CliRunner().invoke(agent, ["send", str(path), "--to", to, "--called", "X"], standalone_mode=False)
    assert done.return_value == 1
    assert "cannot understand" in done.stderr


def test_no_peer_is_one_line_and_exit_1(tmp_path: Path) -> None:
    write_series(tmp_path, make_series(1))
    done = subprocess.run(
        [sys.executable, "-m", "agent", "send", str(tmp_path), "--to", "127.0.0.1:9", "--called", "X"],
        capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"}, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("agent: Nothing listens at 127.0.0.1 port 9.")
