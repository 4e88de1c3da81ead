"""``agent token``: API tokens.

Job: create, list and disable tokens beside a running agent. Place: writes through ``store.users``, each act with
an audit row. A token is printed once, as the last word of the output of ``create``, and kept as a hash only.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from agent.cli.store_access import open_store, record, settings_options
from agent.study import Role

ROLES = click.Choice([role.value for role in Role])


@click.group()
def command() -> None:
    """API tokens."""


@command.command()
@click.argument("name")
@click.option("--role", type=ROLES, required=True, help="What the token may do.")
@settings_options
def create(name: str, role: str, config: Path | None, data: Path | None) -> int:
    """Create a token; it is the last word of the output and is never shown again."""
    keyring = open_store(config, data)
    from agent.store import users

    secret = users.create_token(name, Role(role), time.time())
    record(keyring, "token_created", name, {"role": role})
    click.echo(f"Token {name} created as {role}: {secret}")
    return 0


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@settings_options
def list_(as_json: bool, config: Path | None, data: Path | None) -> int:
    """List the tokens, without their secrets."""
    open_store(config, data)
    from agent.store import users

    rows = [
        {"name": token.name, "role": token.role.value, "disabled": token.disabled, "used_at": token.used_at}
        for token in users.list_tokens()
    ]
    if as_json:
        click.echo(json.dumps(rows))
        return 0
    for row in rows:
        click.echo(f"{row['name']:<24} {row['role']:<14} {'disabled' if row['disabled'] else ''}".rstrip())
    if not rows:
        click.echo("No token yet. `agent token create NAME --role viewer` creates one.")
    return 0


@command.command()
@click.argument("name")
@settings_options
def disable(name: str, config: Path | None, data: Path | None) -> int:
    """Disable a token for good."""
    keyring = open_store(config, data)
    from agent.store import users

    users.disable_token(name)
    record(keyring, "token_disabled", name)
    click.echo(f"Token {name} is disabled.")
    return 0
