"""Group commit: many threads, one sync.

Job: sync every file that was written since the last commit and release all who wait for it. Place: called by each
thread that appended a record, after its bytes were written; one of them leads, the others follow. It must never
release anybody whose file was not in the set that was synced, nor anybody at all when one sync of the set failed.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

from agent.errors import StorageError
from agent.store.segments.file import SegmentFile, storage_error


def sync_folder(folder: Path) -> None:
    """Make the directory entries of `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _Round:
    """Those who wait for the same sync."""

    __slots__ = ("error", "files", "is_done")

    def __init__(self) -> None:
        self.files: set[SegmentFile] = set()
        self.is_done = False
        self.error: StorageError | None = None


class GroupCommit:
    """Leader and followers over every dirty file of one segment writer.

    Parameters
    ----------
    folder : Path
        Whose directory entries are synced when a file is new.
    lock : threading.Lock
        The segment writer's lock, which guards the files too.
    sync : bool
        False only in tests and benchmarks.
    """

    def __init__(self, folder: Path, lock: threading.Lock, *, sync: bool) -> None:
        self._folder = folder
        self._sync = sync
        self._condition = threading.Condition(lock)
        self._open = _Round()
        self._is_leading = False

    def commit(self, file: SegmentFile, sequence: int) -> None:
        """Return when the bytes of record `sequence` in `file` are durable.

        Raises
        ------
        StorageError
            When any sync of that commit failed; nothing of it may be acknowledged.
        """
        with self._condition:
            file.wrote(sequence)
            mine = self._open
            mine.files.add(file)
            while not mine.is_done and self._is_leading:
                self._condition.wait()
            if not mine.is_done:
                self._lead(mine)
            error = mine.error
        if error is not None:
            raise error

    def _lead(self, mine: _Round) -> None:
        """Sync for all of the round; called and left with the lock held."""
        self._is_leading = True
        self._open = _Round()
        until = {file: file.written_until() for file in mine.files}
        new = [file for file in mine.files if file.is_new]
        self._condition.release()
        error: StorageError | None = None
        try:
            if self._sync:
                for file in until:
                    if file.has_failed:
                        error = StorageError("A sync of this segment failed before.", code="storage_sync")
                    else:
                        os.fdatasync(file.descriptor)
                if new:
                    sync_folder(self._folder)
        except OSError as failure:
            error = storage_error(failure, "Objects could not be synced")
        finally:
            self._condition.acquire()
            self._is_leading = False
            for file, offset in until.items():
                if error is None:
                    file.durable = max(file.durable, offset)
                else:
                    file.has_failed = True
            if error is None:
                for file in new:
                    file.is_new = False
            mine.error = error
            mine.is_done = True
            self._condition.notify_all()
