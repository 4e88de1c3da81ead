"""How a command reaches the store beside a running agent.

Job: options for configuration and data directory, opened keys and database, audit rows. Place: used by commands
that read or change rows. It must never create a data directory.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from agent.config import Settings
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
    return open_installation(config, data)[1]


def open_installation(config: Path | None, data: Path | None) -> tuple[Settings, Keyring]:
    """Open keys and database as :func:`open_store` does, and return the settings too.

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
    return settings, keyring


def is_agent_running(data_dir: Path) -> bool:
    """Say whether an agent holds the lock of a data directory."""
    try:
        descriptor = os.open(data_dir / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


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
