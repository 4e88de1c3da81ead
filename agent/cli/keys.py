"""``agent keys``: the master key of an installation."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import click

_CONFIG = click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="Configuration file.")
_DATA = click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Data directory.")


@click.group()
def command() -> None:
    """Make, check and rotate the master key."""


@command.command()
@_CONFIG
@_DATA
def init(config: Path | None, data: Path | None) -> int:
    """Make a master key, the keys it wraps and an empty database for a new installation.

    Existing keys are never touched, and a key that was lost is not replaced: only its copy opens the data.
    """
    from agent.config import load_settings
    from agent.store.database import open_database
    from agent.store.keys import Keyring

    settings = load_settings(config, {"data_dir": data} if data else None)
    existed = (settings.data_dir / "keys.json").exists()
    keyring = Keyring.open(settings, create=True)
    if not existed:
        open_database(settings.data_dir, keyring, create=True).close()
    if keyring.created:
        click.echo(f"Made the master key {settings.key_file} (mode 0600).")
        click.echo("Keep a copy apart from the data: without it nothing that was received can be read.")
    elif existed:
        click.echo(f"The keys exist already ({settings.key_file}); nothing was changed.")
    else:
        click.echo(f"Made {settings.data_dir / 'keys.json'} under the existing master key {settings.key_file}.")
    return 0


@command.command()
@_CONFIG
@_DATA
def rotate(config: Path | None, data: Path | None) -> int:
    """Replace the master key and wrap every key anew; works beside a running agent and is audited."""
    from agent.cli.store import operator
    from agent.config import load_settings
    from agent.store import audit
    from agent.store.database import FILE_NAME, open_database
    from agent.store.keys import Keyring

    settings = load_settings(config, {"data_dir": data} if data else None)
    Keyring.rotate_master(settings)
    keyring = Keyring.open(settings)
    if (settings.data_dir / FILE_NAME).is_file():
        open_database(settings.data_dir, keyring)
        audit.append(keyring, actor=operator(), role="", source="cli", action="master_key_rotated")
    click.echo(f"{settings.key_file} holds a new master key; replace your copies of it and of keys.json.")
    return 0


@command.command()
@_CONFIG
@_DATA
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def status(config: Path | None, data: Path | None, as_json: bool) -> int:
    """Say whether the keys are there and fit together; secrets are never shown."""
    from agent.config import load_settings
    from agent.store.database import FILE_NAME, open_database, query
    from agent.store.keys import Keyring

    settings = load_settings(config, {"data_dir": data} if data else None)
    keyring = Keyring.open(settings)
    count = 0
    if (settings.data_dir / FILE_NAME).is_file():
        open_database(settings.data_dir, keyring, read_only=True)
        count = query("SELECT count(*) FROM study_key WHERE study_id IS NOT NULL")[0][0]
    beside = settings.key_file.resolve().is_relative_to(settings.data_dir.resolve())
    content = {
        "key_file": str(settings.key_file),
        "mode": f"{stat.S_IMODE(settings.key_file.stat().st_mode):04o}",
        "opens": True,
        "inside_data_dir": beside,
        "pseudonym_version": keyring.pseudonym_version,
        "study_keys": count,
    }
    if as_json:
        click.echo(json.dumps(content))
        return 0
    click.echo(f"{content['key_file']} (mode {content['mode']}) opens {settings.data_dir / 'keys.json'}.")
    click.echo(f"{count} study keys; pseudonym key version {keyring.pseudonym_version}.")
    if beside:
        click.echo("The master key lies inside the data directory: whoever copies that can read everything.", err=True)
    return 0
