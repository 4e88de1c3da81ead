"""Versions of the database.

Job: make the tables of a new database and bring an older one forward, one step a version, each in one transaction;
refuse a newer one. Place: called when the engine opens the database. It must never go backwards or guess.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from agent.errors import ConfigError
from agent.store import schema

if TYPE_CHECKING:
    from agent.store.database import StoreDatabase

STEPS: dict[int, Callable[[StoreDatabase], None]] = {}
"""Step from the version before to the key; the first release is version 1 and needs none."""


def stored_version(database: StoreDatabase) -> int:
    """Return the version of the file, 0 for an empty one."""
    return int(database.run_sql("PRAGMA user_version").fetchone()[0])


def check_version(database: StoreDatabase) -> None:
    """Make sure that this code can use the file.

    Raises
    ------
    ConfigError
        When the file is newer, or older and not yet migrated by ``agent serve``.
    """
    version = stored_version(database)
    if version > schema.SCHEMA_VERSION:
        raise ConfigError(
            f"The database has version {version}; this agent knows {schema.SCHEMA_VERSION}.",
            code="database_newer",
            hint="Install the newer agent again; databases do not go backwards.",
        )
    if version < schema.SCHEMA_VERSION:
        raise ConfigError(
            f"The database has version {version}, this agent needs {schema.SCHEMA_VERSION}.",
            code="database_older",
            hint="Start `agent serve` once; it brings the database forward.",
        )


def migrate(database: StoreDatabase) -> None:
    """Create the tables or bring them forward.

    Raises
    ------
    ConfigError
        When the file is newer than this code.
    """
    version = stored_version(database)
    if version == schema.SCHEMA_VERSION:
        return
    if version > schema.SCHEMA_VERSION:
        check_version(database)
    with database.atomic("IMMEDIATE"):
        if stored_version(database) == 0:
            with database.bind_ctx(schema.TABLES, bind_refs=False, bind_backrefs=False):
                database.create_tables(schema.TABLES)
            version = schema.SCHEMA_VERSION
        for step in range(version + 1, schema.SCHEMA_VERSION + 1):
            STEPS[step](database)
        database.run_sql(f"PRAGMA user_version={schema.SCHEMA_VERSION}")
