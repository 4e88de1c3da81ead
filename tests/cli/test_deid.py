"""``agent deid`` as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from pydicom import dcmread

from tests.dicom_files import make_series, write_series


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AGENT_")}
    return subprocess.run(
        [sys.executable, "-m", "agent", "deid", *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip


def test_a_folder_is_cleaned_and_the_report_lists_every_action(tmp_path: Path) -> None:
    write_series(tmp_path / "Ottokarsen", make_series(2, patient_name="Ottokarsen^Wilhelmine"))
    told = run(tmp_path, "Ottokarsen", "out", "--report", "report.json")
    assert told.returncode == 0, told.stderr
    assert "2 of 2 files de-identified" in told.stdout and "fresh random key" in told.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["written"] == 2 and report["profile"] == "basic 1"
    assert "ttokarsen" not in told.stdout + told.stderr + json.dumps(report)
    assert all(dcmread(p).PatientIdentityRemoved == "YES" for p in (tmp_path / "out").iterdir())


def test_left_out_files_are_told_and_give_exit_code_4(tmp_path: Path) -> None:
    write_series(tmp_path / "a", make_series(1, BurnedInAnnotation="YES") + make_series(1))
    told = run(tmp_path, "a", "out", "--json")
    assert told.returncode == 4
    body = json.loads(told.stdout)
    assert body["written"] == 1
    assert body["excluded"] == [{"because": "Its header says that text is burned into the pixels.", "files": 1}]


def test_files_that_are_not_dicom_are_told_by_position_and_never_by_name(tmp_path: Path) -> None:
    write_series(tmp_path / "a" / "b", make_series(1))
    (tmp_path / "a" / "Ottokarsen.txt").write_text("letter")
    (tmp_path / "a" / "c.txt").write_text("a longer letter")
    told = run(tmp_path, "a", "out", "--report", "report.json")
    assert told.returncode == 4
    assert "2  files are not DICOM; --report lists their positions by path and their sizes" in told.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["not_dicom"], report["written"]) == (2, 1)
    assert report["not_dicom_files"] == [{"position": 1, "bytes": 6}, {"position": 3, "bytes": 15}]
    assert "ttokarsen" not in told.stdout + told.stderr + json.dumps(report)


def test_an_unknown_profile_gives_one_line_and_exit_code_3(tmp_path: Path) -> None:
    write_series(tmp_path / "a", make_series(1))
    told = run(tmp_path, "a", "out", "--profile", "basci")
    assert told.returncode == 3
    assert told.stderr.strip().splitlines()[-1].endswith("Did you mean basic?")
    assert "Traceback" not in told.stderr


def test_two_runs_with_the_key_of_the_site_agree(tmp_path: Path) -> None:
    from agent.config import load_settings
    from agent.store.keys import Keyring

    config = tmp_path / "agent.toml"
    config.write_text(f'data_dir = "{tmp_path / "data"}"\n')
    Keyring.open(load_settings(config), create=True)
    write_series(tmp_path / "a", make_series(1))
    for out in ("one", "two"):
        told = run(tmp_path, "a", out, "--config", "agent.toml")
        assert told.returncode == 0, told.stderr
        assert "site's key" in told.stderr
    one, two = (next((tmp_path / out).iterdir()) for out in ("one", "two"))
    assert one.name == two.name and one.read_bytes() == two.read_bytes()
