"""The one writer of the engine.

Job: run writing operations in one thread, many in one transaction, each in a savepoint of its own, and resolve their
futures after the commit. Place: created by the engine; actors, receivers' arrivals and the command inbox submit to
it. It must never resolve a future before the commit has reached the disk, and an operation that fails must never undo
its neighbours.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from peewee import PeeweeException

from agent.errors import StorageError
from agent.logs import get_logger
from agent.store.database import StoreDatabase, open_database, query
from agent.store.keys import Keyring

T = TypeVar("T")
GROUP_LIMIT = 256

log = get_logger("store")


class _Item:
    """One operation on its way; `alone` operations run outside a transaction."""

    __slots__ = ("alone", "future", "operation", "result")

    def __init__(self, operation: Callable[[], Any], *, alone: bool = False) -> None:
        self.operation = operation
        self.future: Future[Any] = Future()
        self.alone = alone
        self.result: Any = None


class Writer:
    """Group commit over submitted operations.

    Parameters
    ----------
    data_dir : Path
        The data directory; the database is made when it is missing.
    keyring : Keyring
        Its keys.
    """

    def __init__(self, data_dir: Path, keyring: Keyring) -> None:
        self.database: StoreDatabase = open_database(data_dir, keyring, create=True, read_only=True)
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._main, name="store-writer", daemon=True)
        self._lock = threading.Lock()
        self._stopped = False
        self.database.writer = self

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Commit what was submitted and end; False when `timeout_s` was not enough."""
        with self._lock:
            if not self._stopped:
                self._stopped = True
                self._queue.put(None)
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def submit(self, operation: Callable[[], T]) -> Future[T]:
        """Queue `operation`; its future resolves after the commit that holds it.

        Raises
        ------
        StorageError
            When the writer was stopped.
        """
        return self._put(_Item(operation))

    def run(self, operation: Callable[[], T]) -> T:
        """Run `operation` and wait for its commit.

        Raises
        ------
        StorageError
            When the commit failed or the writer was stopped; else whatever `operation` raised.
        """
        if threading.current_thread() is self._thread:
            return operation()
        return self.submit(operation).result()

    def checkpoint(self) -> None:
        """Move the write-ahead log into the database and cut it to nothing, so that deleted rows leave no copy.

        Raises
        ------
        StorageError
            When a reader kept the log busy for too long.
        """
        self._put(_Item(self._truncate_log, alone=True)).result()

    def _truncate_log(self) -> None:
        busy, _, _ = query("PRAGMA wal_checkpoint(TRUNCATE)")[0]
        if busy:
            raise StorageError("A reader holds the write-ahead log.", code="checkpoint_busy", hint="Try again.")

    def _put(self, item: _Item) -> Future[Any]:
        with self._lock:
            if self._stopped:
                raise StorageError("The store has been stopped.", code="store_stopped")
            self._queue.put(item)
        return item.future

    def _main(self) -> None:
        self.database.admit_writer()
        going = True
        while going:
            first = self._queue.get()
            group: list[_Item] = []
            item = first
            while item is not None:
                group.append(item)
                if item.alone or len(group) >= GROUP_LIMIT:
                    break
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
            going = item is not None
            alone = group.pop() if group and group[-1].alone else None
            if group:
                self._commit(group)
            if alone is not None:
                self._run_alone(alone)
        self.database.close()

    def _run_alone(self, item: _Item) -> None:
        if not item.future.set_running_or_notify_cancel():
            return
        try:
            item.future.set_result(item.operation())
        except Exception as error:
            item.future.set_exception(error)

    def _commit(self, group: list[_Item]) -> None:
        running = [item for item in group if item.future.set_running_or_notify_cancel()]
        failed: dict[int, Exception] = {}
        try:
            with self.database.atomic("IMMEDIATE"):
                for number, item in enumerate(running):
                    error = self._run_in_savepoint(item)
                    if error is not None:
                        failed[number] = error
        except PeeweeException as error:
            log.exception("store_commit_failed", operations=len(running), reason=type(error).__name__)
            reason = StorageError(f"The database did not take a change: {error}.", code="database_commit")
            reason.__cause__ = error
            for item in running:
                item.future.set_exception(reason)
            return
        for number, item in enumerate(running):
            if number in failed:
                item.future.set_exception(failed[number])
            else:
                item.future.set_result(item.result)

    def _run_in_savepoint(self, item: _Item) -> Exception | None:
        try:
            with self.database.atomic():
                item.result = item.operation()
        except Exception as error:
            if not self.database.is_in_transaction:
                raise  # SQLite gave up the whole transaction (disk full, I/O error)
            return error
        return None
