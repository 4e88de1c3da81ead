"""``agent keys``: made once, checked, rotated beside a running agent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.store import audit
from agent.store.keys import Keyring
from agent.store.recovery import verify
from tests.cli.test_store import run
from tests.store.installation import Installation


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Installation]:
    installation = Installation(tmp_path)
    yield installation
    installation.close()


def test_init_never_touches_keys_that_exist(store: Installation) -> None:
    before = store.settings.key_file.read_bytes()
    done = run(store, "keys", "init")
    assert done.returncode == 0
    assert "nothing was changed" in done.stdout
    assert store.settings.key_file.read_bytes() == before


def test_status_tells_without_showing_a_secret(store: Installation) -> None:
    store.receive("1.2.3", 1)
    done = run(store, "keys", "status", "--json")
    assert done.returncode == 0, done.stderr
    status = json.loads(done.stdout)
    assert (status["opens"], status["mode"], status["study_keys"], status["inside_data_dir"]) == (
        True,
        "0600",
        1,
        False,
    )
    assert store.settings.key_file.read_text().splitlines()[1] not in done.stdout
    store.settings.key_file.chmod(0o644)
    done = run(store, "keys", "status")
    assert done.returncode == 3
    assert "chmod 600" in done.stderr
    store.settings.key_file.chmod(0o600)


def test_rotation_beside_a_running_agent_loses_nothing(store: Installation) -> None:
    store.receive("1.2.3", 2)
    before = store.settings.key_file.read_bytes()
    done = run(store, "keys", "rotate")
    assert done.returncode == 0, done.stderr
    assert store.settings.key_file.read_bytes() != before
    store.receive("1.2.4", 2)  # the agent goes on with the keys it holds
    assert verify(store.segments, Keyring.open(store.settings)).bad == 0
    assert [row.action for row in audit.rows(action="master_key_rotated")] == ["master_key_rotated"]
    assert run(store, "store", "verify").returncode == 0


def test_a_lost_key_is_never_advised_to_be_made_anew(store: Installation) -> None:
    store.settings.key_file.unlink()
    for words in (("keys", "init"), ("keys", "status"), ("store", "verify")):
        done = run(store, *words)
        assert done.returncode == 3
        assert "was made with a key that is missing" in done.stderr
        assert "Restore your copy" in done.stderr
        assert "choose another --data" in done.stderr
        assert "keys init" not in done.stderr
    assert not store.settings.key_file.exists()
