"""``agent store``, ``keys`` and ``audit`` beside a writer that is running, as processes of their own."""

from __future__ import annotations

import getpass
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.store import audit
from agent.store.studies import resolve
from tests.store.installation import Installation


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Installation]:
    installation = Installation(tmp_path)
    yield installation
    installation.close()


def run(store: Installation, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "AGENT_KEYS__FILE": str(store.settings.key_file)}
    command = [sys.executable, "-m", "agent", *words, "--data", str(store.settings.data_dir)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_verify_counts_good_and_bad_objects(store: Installation) -> None:
    records = store.receive("1.2.3", 4)
    done = run(store, "store", "verify", "--json")
    assert done.returncode == 0, done.stderr
    assert (json.loads(done.stdout)["objects"], json.loads(done.stdout)["bad"]) == (4, 0)
    path = store.segments / records[0].segment
    raw = bytearray(path.read_bytes())
    raw[records[0].offset + 500] ^= 1
    path.write_bytes(raw)
    done = run(store, "store", "verify")
    assert done.returncode == 1
    assert "4 objects" in done.stdout
    assert "1 bad" in done.stdout


def test_export_takes_id_or_uid_and_is_audited(store: Installation, tmp_path: Path) -> None:
    store.receive("1.2.3", 2)
    for number, name in enumerate(("1.2.3", resolve("1.2.3"))):
        done = run(store, "store", "export", name, str(tmp_path / f"out{number}"))
        assert done.returncode == 0, done.stderr
        assert len(list((tmp_path / f"out{number}").glob("*.dcm"))) == 2
    again = run(store, "store", "export", "1.2.3", str(tmp_path / "out0"))
    assert again.returncode == 3
    assert "is not an empty folder. Choose an empty or new folder." in again.stderr
    exported = list(audit.rows(action="study_exported"))
    assert [row.object for row in exported] == [resolve("1.2.3")] * 2
    assert exported[0].detail == {"objects": 2, "bad": 0}
    assert exported[0].actor == f"cli:{getpass.getuser()}"  # the name that every other verb is noted under
    assert audit.verify().is_intact


def test_an_unknown_study_and_a_missing_database_are_named(store: Installation, tmp_path: Path) -> None:
    done = run(store, "store", "export", "9.9.9", str(tmp_path / "out"))
    assert done.returncode == 1
    assert "no such study" in done.stderr
    environment = {**os.environ, "AGENT_KEYS__FILE": str(store.settings.key_file)}
    command = [sys.executable, "-m", "agent", "store", "verify", "--data", str(tmp_path / "nothing")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3
    assert len(done.stderr.strip().splitlines()) == 1
