"""The encrypted database of a process.

Job: open ``state.db`` with the right key and pragmas, refuse libraries and files that are not safe, and run short
writing transactions. Place: below every aggregate of the store; each process opens it once and peewee keeps one
connection a thread. It must never open a connection that may write in a thread that should only read: in the engine
only the writer thread may.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import peewee
from peewee import DatabaseError, OperationalError
from playhouse.sqlcipher_ext import SqlCipherDatabase
from sqlcipher3 import dbapi2

from agent.config import Settings
from agent.errors import ConfigError, StorageError
from agent.store import schema
from agent.store.keys import Keyring

FILE_NAME = "state.db"
OLDEST_SQLITE = (3, 51, 3)  # 3.7.0 to 3.51.2 may corrupt a WAL database when two connections reset it
THREAD_CACHE_KIB = 128  # of every connection but the writer's: each of some hundred threads has one
BUSY_TIMEOUT_S = 15

T = TypeVar("T")


class _RunsOperations(Protocol):
    def run(self, operation: Callable[[], T]) -> T: ...


class StoreDatabase(SqlCipherDatabase):
    """``state.db`` as this process may use it.

    Parameters
    ----------
    path : Path
        The file.
    keyring : Keyring
        Holds the database key, and the audit key of whatever is appended to the audit.
    read_only : bool
        No thread of this process may write, except those that :meth:`admit_writer` let in.
    """

    def __init__(self, path: Path, keyring: Keyring, *, read_only: bool) -> None:
        self.path = path
        self.keyring = keyring
        self.read_only = read_only
        self.writer: _RunsOperations | None = None
        self._admitted = threading.local()
        super().__init__(str(path), passphrase=f"x'{keyring.database_key.hex()}'", timeout=BUSY_TIMEOUT_S)

    def admit_writer(self) -> None:
        """Let the calling thread write; before its first statement."""
        self._admitted.yes = True

    def dismiss_writer(self) -> None:
        """Let the calling thread only read again; its connection is closed."""
        self.close()
        self._admitted.yes = False

    @property
    def may_write(self) -> bool:
        """Whether the calling thread's connection can write."""
        return not self.read_only or getattr(self._admitted, "yes", False)

    def _connect(self) -> Any:
        mode = "rw" if self.may_write else "ro"
        connection = dbapi2.connect(
            f"{self.path.as_uri()}?mode={mode}",
            uri=True,
            isolation_level=None,
            timeout=BUSY_TIMEOUT_S,
            check_same_thread=False,
        )
        try:
            connection.execute(f'PRAGMA key="{self.connect_params["passphrase"]}"')
            connection.execute("PRAGMA foreign_keys=1")
            connection.execute("PRAGMA secure_delete=1")
            connection.execute("PRAGMA temp_store=2")
            if self.may_write:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=FULL")
            if not getattr(self._admitted, "yes", False):
                connection.execute(f"PRAGMA cache_size=-{THREAD_CACHE_KIB}")
            self._add_conn_hooks(connection)  # type: ignore[attr-defined]
        except BaseException:
            connection.close()
            raise
        return connection

    def executemany_sql(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        """Run a statement for many rows in this thread's connection.

        Raises
        ------
        peewee.DatabaseError
            As for a single statement.
        """
        with peewee.__exception_wrapper__:  # type: ignore[attr-defined]
            self._here().executemany(statement, rows)

    def _here(self) -> Any:
        """Return this thread's connection of the driver."""
        return self.connection()  # type: ignore[no-untyped-call]

    @property
    def is_in_transaction(self) -> bool:
        """Whether this thread's connection still has its transaction: SQLite gives it up when the disk is full."""
        return bool(self._here().in_transaction)

    def run_sql(self, statement: str, parameters: Sequence[object] = ()) -> Any:
        """Run one statement and return its cursor.

        Raises
        ------
        peewee.DatabaseError
            When SQLite refuses it.
        """
        return self.execute_sql(statement, parameters)  # type: ignore[no-untyped-call]

    def data_version(self) -> int:
        """Return a number that changes whenever another connection has committed; costs microseconds."""
        return int(self._here().execute("PRAGMA data_version").fetchone()[0])


def open_database(data_dir: Path, keyring: Keyring, *, read_only: bool = False, create: bool = False) -> StoreDatabase:
    """Open ``state.db`` and make it the database of this process.

    Parameters
    ----------
    data_dir : Path
        The data directory.
    keyring : Keyring
        Its keys.
    read_only : bool, optional
        Every connection is opened ``mode=ro``.
    create : bool, optional
        Make the database, or bring an older one to this version.

    Raises
    ------
    ConfigError
        When the library is unsafe, the file is missing, of a newer version, or does not open with the key.
    """
    from agent.store import migrations

    if dbapi2.sqlite_version_info < OLDEST_SQLITE:
        raise ConfigError(
            f"SQLite {dbapi2.sqlite_version} may corrupt the database.",
            code="sqlite_too_old",
            hint="Install sqlcipher3 0.6.4 or newer.",
        )
    path = data_dir.absolute() / FILE_NAME
    if create:
        _touch(path)
    elif not path.is_file():
        raise ConfigError(
            f"There is no {path}.", code="database_missing", hint="Start `agent serve` once, or check --data."
        )
    database = StoreDatabase(path, keyring, read_only=read_only)
    try:
        if create:
            database.admit_writer()
            migrations.migrate(database)
            database.dismiss_writer()
        else:
            migrations.check_version(database)
    except OperationalError as error:
        database.close()
        raise ConfigError(f"{path} cannot be used: {error}.", code="database_unusable") from error
    except DatabaseError as error:
        database.close()
        raise ConfigError(
            f"{path} does not open with the database key.",
            code="database_key",
            hint="Restore the keys.json that belongs to it.",
        ) from error
    schema.database.initialize(database)
    return database


def open_store(settings: Settings, *, read_only: bool = True) -> StoreDatabase:
    """Open keys and database of an installation that exists, for a command beside the agent.

    Raises
    ------
    ConfigError
        When a file is missing or does not fit.
    """
    return open_database(settings.data_dir, Keyring.open(settings), read_only=read_only)


def _touch(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}.",
            code="data_dir_unwritable",
            hint="Check data_dir and its owner.",
        ) from error


def current() -> StoreDatabase:
    """Return the database that this process opened.

    Raises
    ------
    StorageError
        When none is open.
    """
    opened: StoreDatabase | None = schema.database.obj
    if opened is None:
        raise StorageError("The database is not open in this process.", code="database_closed")
    return opened


def data_version() -> int:
    """Return a number that changes whenever another connection has committed."""
    return current().data_version()


def query(statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
    """Run one statement in this thread's connection and return its rows."""
    rows: list[tuple[Any, ...]] = current().run_sql(statement, parameters).fetchall()
    return rows


def change(statement: str, parameters: Sequence[object] = ()) -> int:
    """Run one writing statement in the transaction of this thread and return the rows it changed."""
    count: int = current().run_sql(statement, parameters).rowcount
    return count


def change_many(statement: str, rows: Iterable[Sequence[object]]) -> None:
    """Run a writing statement for many rows at once: the fast way in."""
    current().executemany_sql(statement, rows)


def transact(operation: Callable[[], T]) -> T:
    """Run a short writing `operation` in one transaction, committed when this returns.

    In the engine it goes through the one writer; in every other process it is a ``BEGIN IMMEDIATE`` of its own. Inside
    a transaction of this thread it simply joins.

    Raises
    ------
    StorageError
        When the database stays locked or the disk is full.
    """
    database = current()
    if database.in_transaction():
        return operation()
    if database.writer is not None and not database.may_write:
        return database.writer.run(operation)
    try:
        with database.atomic("IMMEDIATE"):
            return operation()
    except OperationalError as error:
        raise StorageError(f"The database did not take a change: {error}.", code="database_busy") from error
