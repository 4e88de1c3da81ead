"""``agent token``: API tokens at the command line."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from agent.cli import agent
from agent.errors import ConfigError
from agent.store import users
from agent.store.database import current
from agent.study import Role
from tests.web.hospital import Hospital


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    hospital = Hospital(tmp_path)
    hospital.close()
    monkeypatch.setenv("AGENT_KEYS__FILE", str(tmp_path / "agent.key"))
    return tmp_path / "data"


def _run(place: Path, *arguments: str) -> Result:
    return CliRunner().invoke(agent, [*arguments, "--data", str(place)], standalone_mode=False)


def test_a_token_is_the_last_word_and_works_until_it_is_disabled(place: Path) -> None:
    made = _run(place, "token", "create", "ris", "--role", "viewer")
    assert made.exception is None, made.output
    secret = made.output.split()[-1]
    token = users.read_token(secret, time.time())
    assert token is not None and token.name == "ris" and token.role is Role.VIEWER
    listed = _run(place, "token", "list", "--json").output
    assert secret not in listed
    assert json.loads(listed)[0]["name"] == "ris"
    assert isinstance(_run(place, "token", "create", "ris", "--role", "admin").exception, ConfigError)
    assert _run(place, "token", "disable", "ris").exception is None
    assert users.read_token(secret, time.time()) is None
    assert "disabled" in _run(place, "token", "list").output
    assert isinstance(_run(place, "token", "disable", "nobody").exception, ConfigError)
    current().close()
