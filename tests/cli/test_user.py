"""``agent user``: accounts at the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from agent.cli import agent
from agent.errors import AgentError, ConfigError
from agent.store import audit, users
from agent.store.database import current, query
from agent.study import Role
from agent.web import passwords
from tests.web.hospital import Hospital

PASSWORD = "four words in a row"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    hospital = Hospital(tmp_path)
    hospital.close()
    monkeypatch.setenv("AGENT_KEYS__FILE", str(tmp_path / "agent.key"))
    return tmp_path / "data"


def _run(place: Path, *arguments: str, typed: str = "") -> Result:
    result = CliRunner().invoke(agent, [*arguments, "--data", str(place)], input=typed, standalone_mode=False)
    return result


def test_an_account_is_made_from_standard_input_and_never_from_an_argument(place: Path) -> None:
    result = _run(place, "user", "add", "rita", "--role", "reviewer", typed=f"{PASSWORD}\n")
    assert result.exception is None, result.output
    assert PASSWORD not in result.output
    user = users.read_user("rita")
    assert user is not None and user.role is Role.REVIEWER
    assert passwords.is_right(PASSWORD, user.password_hash)
    assert "--password" not in CliRunner().invoke(agent, ["user", "add", "--help"]).output
    assert [(row.action, row.object, row.source) for row in audit.rows(action="user_created")] == [
        ("user_created", "rita", "cli")
    ]
    current().close()


def test_a_weak_password_or_a_taken_name_changes_nothing(place: Path) -> None:
    weak = _run(place, "user", "add", "rita", "--role", "viewer", typed="short\n")
    assert isinstance(weak.exception, AgentError) and "12 characters" in str(weak.exception)
    assert users.read_user("rita") is None
    _run(place, "user", "add", "rita", "--role", "viewer", typed=f"{PASSWORD}\n")
    again = _run(place, "user", "add", "rita", "--role", "admin", typed=f"{PASSWORD}\n")
    assert isinstance(again.exception, AgentError) and "already" in str(again.exception)
    current().close()


def test_role_password_and_disable_change_the_account_and_end_its_logins(place: Path) -> None:
    _run(place, "user", "add", "rita", "--role", "viewer", typed=f"{PASSWORD}\n")
    users.open_session("rita", 1.0)
    assert _run(place, "user", "role", "rita", "technologist").exception is None
    assert query("SELECT count(*) FROM session")[0][0] == 0
    assert _run(place, "user", "password", "rita", typed="another four long words\n").exception is None
    assert _run(place, "user", "disable", "rita").exception is None
    listed = json.loads(_run(place, "user", "list", "--json").output)
    assert listed == [{"name": "rita", "role": "technologist", "disabled": True, "one_time": False}]
    assert "technologist" in _run(place, "user", "list").output
    assert _run(place, "user", "disable", "rita", "--enable").exception is None
    missing = _run(place, "user", "role", "nobody", "admin")
    assert isinstance(missing.exception, ConfigError)
    current().close()


def test_a_one_time_login_is_printed_as_the_last_word(place: Path) -> None:
    result = _run(place, "user", "add", "first", "--role", "admin", "--one-time")
    user = users.read_user("first")
    assert user is not None and user.one_time and user.expires_at is not None
    assert passwords.is_right(result.output.split()[-1], user.password_hash)
    current().close()


def test_without_a_data_directory_there_is_one_clear_error(tmp_path: Path) -> None:
    result = _run(tmp_path / "nothing", "user", "list")
    assert isinstance(result.exception, ConfigError) and result.exception.exit_code == 3


def test_before_the_first_start_it_says_what_makes_an_installation_and_that_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_KEYS__FILE", str(tmp_path / "agent.key"))
    place = tmp_path / "data"
    early = _run(place, "user", "add", "rita", "--role", "admin", typed=f"{PASSWORD}\n")
    assert isinstance(early.exception, ConfigError)
    assert "Run `agent keys init` or start `agent serve` once" in str(early.exception)
    assert not place.exists()
    assert _run(place, "keys", "init").exception is None
    made = _run(place, "user", "add", "rita", "--role", "admin", typed=f"{PASSWORD}\n")
    assert made.exception is None, made.output
    current().close()
