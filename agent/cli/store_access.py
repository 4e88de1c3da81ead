"""How a command reaches the store beside a running agent.

Job: options for configuration and data directory, opened keys and database, audit rows. Place: used by commands
that read or change rows. It must never create a data directory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from agent.store.keys import Keyring

F = TypeVar("F", bound=Callable[..., Any])


def settings_options(function: F) -> F:
    """Add ``--config`` and ``--data`` to a command."""
    data = click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Data directory.")
    config = click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="Configuration file.")
    return config(data(function))


def open_store(config: Path | None, data: Path | None) -> Keyring:
    """Open keys and database of the configured data directory.

    Raises
    ------
    ConfigError
        If settings, keys or database cannot be used.
    """
    from agent.config import load_settings
    from agent.store.database import open_database
    from agent.store.keys import Keyring

    settings = load_settings(config, {"data_dir": data} if data else None)
    keyring = Keyring.open(settings)
    open_database(settings.data_dir, keyring)
    return keyring


def record(keyring: Keyring, action: str, object_: str, detail: Mapping[str, object] | None = None) -> None:
    """Append to the audit what somebody did at the command line; the actor is the account of the machine."""
    import getpass

    from agent.store import audit

    audit.append(
        keyring,
        actor=f"cli:{getpass.getuser()}",
        role="",
        source="cli",
        action=action,
        object=object_,
        detail=dict(detail or {}),
    )
