"""``agent user``: accounts of the dashboard.

Job: add, list and change accounts beside a running agent. Place: writes through ``store.users``, each act with an
audit row. A password comes from a prompt or from standard input, never from the command line.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import click

from agent.cli.store_access import open_store, record, settings_options
from agent.errors import AgentError
from agent.study import Role

ROLES = click.Choice([role.value for role in Role])


def _ask_password(name: str) -> str:
    """Read a password from a terminal (twice) or from the first line of standard input."""
    from agent.web.passwords import weakness

    if sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    wrong = weakness(password, name)
    if wrong:
        raise AgentError(wrong, code="password_weak", hint="Nothing was changed.")
    return str(password)


@click.group()
def command() -> None:
    """Accounts of the dashboard."""


@command.command()
@click.argument("name")
@click.option("--role", type=ROLES, required=True, help="What the account may do.")
@click.option(
    "--one-time", is_flag=True, help="Print a one-time password, good for an hour, instead of asking for one."
)
@settings_options
def add(name: str, role: str, one_time: bool, config: Path | None, data: Path | None) -> int:
    """Create an account; the password is asked for, or read from standard input."""
    keyring = open_store(config, data)
    from agent.store import users
    from agent.web import passwords

    if one_time:
        password = passwords.create_one_time_login(name, Role(role), time.time())
    else:
        password = ""
        if users.read_user(name) is not None:
            raise AgentError(f"There is a user {name} already.", code="user_exists", hint="Choose another name.")
        users.create_user(name, Role(role), passwords.hash_password(_ask_password(name)), at=time.time())
    record(keyring, "user_created", name, {"role": role})
    click.echo(f"User {name} created as {role}. {password}".strip())
    return 0


@command.command()
@click.argument("name")
@settings_options
def password(name: str, config: Path | None, data: Path | None) -> int:
    """Set a password; it is asked for, or read from standard input. Ends the account's logins."""
    keyring = open_store(config, data)
    from agent.store import users
    from agent.web.passwords import hash_password

    users.set_password(name, hash_password(_ask_password(name)))
    record(keyring, "password_changed", name)
    click.echo(f"The password of {name} is changed.")
    return 0


@command.command()
@click.argument("name")
@click.argument("new_role", metavar="ROLE", type=ROLES)
@settings_options
def role(name: str, new_role: str, config: Path | None, data: Path | None) -> int:
    """Give an account another role. Ends its logins."""
    keyring = open_store(config, data)
    from agent.store import users

    users.set_role(name, Role(new_role))
    record(keyring, "user_role_changed", name, {"role": new_role})
    click.echo(f"{name} is {new_role} now.")
    return 0


@command.command()
@click.argument("name")
@click.option("--enable", is_flag=True, help="Enable it again.")
@settings_options
def disable(name: str, enable: bool, config: Path | None, data: Path | None) -> int:
    """Disable an account (or enable it again). Ends its logins."""
    keyring = open_store(config, data)
    from agent.store import users

    users.set_disabled(name, not enable)
    record(keyring, "user_enabled" if enable else "user_disabled", name)
    click.echo(f"{name} is {'enabled' if enable else 'disabled'}.")
    return 0


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@settings_options
def list_(as_json: bool, config: Path | None, data: Path | None) -> int:
    """List the accounts."""
    open_store(config, data)
    from agent.store import users

    rows = [
        {"name": user.name, "role": user.role.value, "disabled": user.disabled, "one_time": user.one_time}
        for user in users.list_users()
    ]
    if as_json:
        click.echo(json.dumps(rows))
        return 0
    for row in rows:
        marks = [mark for mark in ("disabled", "one_time") if row[mark]]
        click.echo(f"{row['name']:<24} {row['role']:<14} {' '.join(marks)}".rstrip())
    if not rows:
        click.echo("No account yet. `agent user add NAME --role admin` creates one.")
    return 0
