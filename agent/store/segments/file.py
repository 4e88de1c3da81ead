"""One segment file that is being written.

Job: create it under a lock, keep its bookkeeping (end, records under way, watermark), extend it ahead, close it with
a footer. Place: owned by the segment writer, synced by group commit. It must never be written again after a sync of
it failed: the kernel may have dropped what it could not write.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from agent.errors import StorageError, StoreFull
from agent.store.segments.margins import free_bytes
from agent.store.segments.record import FILE_HEADER_BYTES, FOOTER, FRAME_BYTES, Frame, binding_of, file_header

STEP_BYTES = 16_777_216
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def storage_error(error: OSError, what: str) -> StorageError:
    """Turn an error of the operating system into ours, without a path."""
    if error.errno in _NO_ROOM:
        return StoreFull(f"{what}: no space left.", hint="Free space on the disk of data_dir.")
    return StorageError(f"{what}: {error.strerror}.", code="storage_io", hint="Check the disk of data_dir.")


def write_fully(descriptor: int, data: bytes | bytearray | memoryview, offset: int) -> None:
    """Write all of `data` at `offset`."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view = view[written:]
        offset += written


class SegmentFile:
    """Bookkeeping and descriptor of one file; guarded by the lock of the segment writer."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        segment_id = os.urandom(16)
        self.binding = binding_of(self.name, segment_id)
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            write_fully(self.descriptor, file_header(segment_id), 0)
        except BaseException:
            os.close(self.descriptor)
            path.unlink(missing_ok=True)
            raise
        self.end = FILE_HEADER_BYTES
        self.allocated = FILE_HEADER_BYTES
        self.durable = FILE_HEADER_BYTES
        self.records = 0
        self.is_new = True  # its directory entry has not been synced
        self.has_failed = False
        self.has_footer = False
        self.is_retired = False
        self._under_way: dict[int, int] = {}  # sequence -> offset, until durable or void
        self._unwritten: dict[int, int] = {}

    def allocate(self, until: int, limit: int) -> None:
        """Reserve blocks ahead up to `until` and a step more, never more than a quarter of what is free.

        Raises
        ------
        OSError
            When there is no room.
        """
        if until <= self.allocated:
            return
        wanted = max(until, min(limit, self.allocated + STEP_BYTES)) - self.allocated
        ahead = max(until - self.allocated, min(wanted, free_bytes(self.path.parent) // 4))
        try:
            os.posix_fallocate(self.descriptor, self.allocated, ahead)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENODEV):
                raise
        self.allocated += ahead

    def begin(self, length: int) -> tuple[int, int]:
        """Reserve `length` bytes; returns sequence number and offset."""
        sequence, offset = self.records, self.end
        self.records += 1
        self.end += length
        self._under_way[sequence] = offset
        self._unwritten[sequence] = offset
        return sequence, offset

    def wrote(self, sequence: int) -> None:
        """Note that a record's bytes were handed to the kernel (or that it was made void)."""
        self._unwritten.pop(sequence, None)

    def finish(self, sequence: int) -> None:
        """Note that nobody waits for this record any more; the last one of a retired file closes it."""
        self._unwritten.pop(sequence, None)
        self._under_way.pop(sequence, None)
        if self.is_retired and not self._under_way:
            self.close()

    def written_until(self) -> int:
        """Return the offset below which every record was handed to the kernel."""
        return min(self._unwritten.values(), default=self.end)

    def retire(self) -> None:
        """Take no more records; closes when the last one under way is finished."""
        if not self.is_retired:
            self.is_retired = True
            if not self._under_way:
                self.close()

    def close(self) -> None:
        """Write the footer, cut what was reserved ahead and close; no footer after a failure.

        The footer is not synced: all records are, and recovery closes a file that lost its footer.
        """
        if self.descriptor < 0:
            return
        descriptor, self.descriptor = self.descriptor, -1
        try:
            if not (self.has_failed or self.has_footer):
                self.write_footer(descriptor)
        except OSError:
            self.has_failed = True
        finally:
            os.close(descriptor)

    def write_footer(self, descriptor: int) -> None:
        """Put count and end behind the last record, so that a file that was cut short shows it."""
        footer = Frame(FOOTER, 0, self.records, self.end, self.end, self.records, "", bytes(16))
        write_fully(descriptor, footer.pack(self.binding), self.end)
        os.ftruncate(descriptor, self.end + FRAME_BYTES)
        self.has_footer = True
