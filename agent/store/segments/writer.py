"""Appending objects to segments.

Job: encrypt an object into a segment and return when it is durable. Place: one ``SegmentWriter`` a receiver process,
called by the threads of its associations; Success goes out after ``append`` returned. It must never return before the
sync, hold an object of any size in memory, or write again to a file whose sync failed.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from agent.errors import StorageError
from agent.store.keys import StudyKey
from agent.store.segments.commit import GroupCommit
from agent.store.segments.file import SegmentFile, storage_error, write_fully
from agent.store.segments.margins import HardMargin
from agent.store.segments.record import (
    CHUNK_BYTES,
    FRAME_BYTES,
    RECORD,
    TAG_BYTES,
    VOID,
    Frame,
    RecordCipher,
    RecordHeader,
    StoredRecord,
    record_length,
)

INLINE_BYTES = 4 * CHUNK_BYTES
"""Objects up to this size share a segment; a larger one has a file of its own and is never held whole."""
REUSED_BYTES = CHUNK_BYTES + 65_536
BUFFERS_KEPT = 8

Buffer = bytes | bytearray | memoryview


class SegmentWriter:
    """Appends records to ``<name>-<n>.seg``.

    Parameters
    ----------
    folder : Path
        The folder of segments; made when missing.
    name : str
        Prefix of this writer's files, of this run of this receiver alone, so that recovery can tell whose they are.
    segment_bytes : int
        A shared segment is closed when a record would make it larger.
    sync : bool, optional
        False only in tests and benchmarks.
    hard_margin_percent : float, optional
        Free space below which nothing is taken.
    """

    def __init__(
        self, folder: Path, name: str, *, segment_bytes: int, sync: bool = True, hard_margin_percent: float = 2.0
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._name = name
        self._segment_bytes = segment_bytes
        self._lock = threading.Lock()
        self._commit = GroupCommit(folder, self._lock, sync=sync)
        self._margin = HardMargin(folder, hard_margin_percent, segment_bytes)
        self._current: SegmentFile | None = None
        self._is_closed = False
        self._buffers: list[memoryview] = []
        self._number = max((int(p.stem.rpartition("-")[2]) for p in folder.glob(f"{name}-*.seg")), default=0)

    def append(self, key: StudyKey, header: RecordHeader, chunks: Iterable[Buffer]) -> StoredRecord:
        """Store one object; durable when this returns.

        Parameters
        ----------
        key : StudyKey
            Of the object's study, committed.
        header : RecordHeader
            What the index needs.
        chunks : iterable of bytes-like
            The data set as received, in pieces of any size. A piece may be reused by the caller once the next is
            asked for.

        Raises
        ------
        StoreFull
            When the disk is full or its margin reached; nothing was stored.
        StorageError
            When a write or sync failed; nothing may be acknowledged.
        """
        pieces = _in_chunks(chunks)
        held: list[Buffer] = []
        size = 0
        for piece in pieces:
            held.append(piece)
            size += len(piece)
            if size > INLINE_BYTES:
                return self._append_alone(key, header, _chain(held, pieces))
        return self._append_shared(key, header, held or [b""], size)

    def close(self) -> None:
        """Close the current segment; after the last append has returned."""
        with self._lock:
            self._is_closed = True
            if self._current is not None:
                self._current.retire()
                self._current = None

    def _append_shared(self, key: StudyKey, header: RecordHeader, chunks: list[Buffer], size: int) -> StoredRecord:
        sealed_header = header.to_bytes()
        header_bytes = len(sealed_header) + TAG_BYTES
        length = record_length(header_bytes, size)
        with self._lock:
            file, frame, packed = self._reserve(
                Frame(RECORD, header_bytes, size, 0, 0, 0, key.key_id, os.urandom(16)), length
            )
        try:
            digest = hashlib.sha256()
            buffer = self._take_buffer(length)
            view = buffer[:length]
            cipher = RecordCipher(key.secret, file.binding, frame.offset, frame.salt)
            view[:FRAME_BYTES] = packed
            at = FRAME_BYTES + header_bytes
            header_tag = self._put_header(view, cipher, packed, sealed_header)
            for number, chunk in enumerate(chunks):
                digest.update(chunk)
                end = at + len(chunk) + TAG_BYTES
                cipher.seal_chunk(number, memoryview(chunk), view[at:end], last=number == len(chunks) - 1)
                at = end
            trailer = cipher.seal_trailer(frame, packed, header_tag, digest.digest())
            view[at : at + len(trailer)] = trailer
            at += len(trailer)
            view[at:] = bytes(length - at)
            write_fully(file.descriptor, view, frame.offset)
            self._give_back_buffer(buffer)
        except BaseException as error:
            with self._lock:
                self._abandon(file, frame)
            if isinstance(error, OSError):
                raise storage_error(error, "An object could not be written") from error
            raise
        self._make_durable(file, frame.sequence)
        return StoredRecord(file.name, frame.offset, length, size, digest.hexdigest(), key.key_id, header)

    def _take_buffer(self, length: int) -> memoryview:
        """Return a buffer for a sealed record; used again, because fresh pages cost as much as encryption."""
        if length <= REUSED_BYTES:
            try:
                return self._buffers.pop()
            except IndexError:
                return memoryview(bytearray(REUSED_BYTES))
        return memoryview(bytearray(length))

    def _give_back_buffer(self, buffer: memoryview) -> None:
        if len(buffer) == REUSED_BYTES and len(self._buffers) < BUFFERS_KEPT:
            self._buffers.append(buffer)

    @staticmethod
    def _put_header(view: memoryview, cipher: RecordCipher, packed: bytes, header: bytes) -> bytes:
        sealed = cipher.seal_header(packed, header)
        view[FRAME_BYTES : FRAME_BYTES + len(sealed)] = sealed
        return sealed[-TAG_BYTES:]

    def _reserve(self, draft: Frame, length: int) -> tuple[SegmentFile, Frame, bytes]:
        """Find room in the current segment and write the frame, so that a scan passes a record that is not done."""
        self._check_open()
        self._margin.take(length)
        file = self._current
        if file is not None and (file.is_retired or file.has_failed or file.end + length > self._segment_bytes):
            self._current = None
            file.retire()
            file = None
        try:
            if file is None:
                file = self._current = self._new_file()
            file.allocate(file.end + length, self._segment_bytes)
            sequence, offset = file.begin(length)
        except OSError as error:
            raise storage_error(error, "A segment could not be extended") from error
        frame = Frame(
            RECORD, draft.header_bytes, draft.size_bytes, offset, file.durable, sequence, draft.key_id, draft.salt
        )
        packed = frame.pack(file.binding)
        try:
            write_fully(file.descriptor, packed, offset)
        except OSError as error:
            self._abandon(file, frame)
            raise storage_error(error, "A segment could not be written") from error
        return file, frame, packed

    def _check_open(self) -> None:
        if self._is_closed:
            raise StorageError("The segment writer has been closed.", code="store_stopped")

    def _new_file(self) -> SegmentFile:
        while True:
            self._number += 1
            try:
                return SegmentFile(self._folder / f"{self._name}-{self._number}.seg")
            except FileExistsError:
                continue

    def _abandon(self, file: SegmentFile, frame: Frame) -> None:
        """Mark a record void, so that it is no damage later, and use the file no more; with the lock held."""
        try:
            write_fully(file.descriptor, replace(frame, kind=VOID).pack(file.binding), frame.offset)
        except OSError:
            file.has_failed = True
        if self._current is file:
            self._current = None
        file.wrote(frame.sequence)
        file.is_retired = True
        file.finish(frame.sequence)

    def _make_durable(self, file: SegmentFile, sequence: int) -> None:
        try:
            self._commit.commit(file, sequence)
        finally:
            with self._lock:
                if file.has_failed:
                    file.is_retired = True
                file.finish(sequence)

    def _append_alone(self, key: StudyKey, header: RecordHeader, chunks: Iterator[Buffer]) -> StoredRecord:
        """Write an object that is larger than memory may hold into a file of its own."""
        with self._lock:
            self._check_open()
            try:
                file = self._new_file()
            except OSError as error:
                raise storage_error(error, "A segment could not be made") from error
        try:
            record = self._write_alone(file, key, header, chunks)
        except BaseException as error:
            file.has_failed = True
            with self._lock:
                file.retire()
                file.finish(0)
            file.path.unlink(missing_ok=True)
            if isinstance(error, OSError) and not isinstance(error, (ConnectionError, TimeoutError)):
                raise storage_error(error, "An object could not be written") from error
            raise  # also what the source of the chunks raised
        with self._lock:
            file.is_retired = True
        self._make_durable(file, 0)
        return record

    def _write_alone(
        self, file: SegmentFile, key: StudyKey, header: RecordHeader, chunks: Iterator[Buffer]
    ) -> StoredRecord:
        plain_header = header.to_bytes()
        header_bytes = len(plain_header) + TAG_BYTES
        with self._lock:
            sequence, offset = file.begin(0)
        salt = os.urandom(16)
        cipher = RecordCipher(key.secret, file.binding, offset, salt)
        digest = hashlib.sha256()
        at, size = offset + FRAME_BYTES + header_bytes, 0
        target = memoryview(bytearray(CHUNK_BYTES + TAG_BYTES))
        for number, (chunk, is_last) in enumerate(_with_last(chunks)):
            sealed = target[: len(chunk) + TAG_BYTES]
            with self._lock:
                self._margin.take(len(sealed))
            digest.update(chunk)
            cipher.seal_chunk(number, memoryview(chunk), sealed, last=is_last)
            file.allocate(at + len(sealed), at + len(sealed) + CHUNK_BYTES * 16)
            write_fully(file.descriptor, sealed, at)
            at += len(sealed)
            size += len(chunk)
        frame = Frame(RECORD, header_bytes, size, offset, file.durable, sequence, key.key_id, salt)
        packed = frame.pack(file.binding)
        sealed_header = cipher.seal_header(packed, plain_header)
        write_fully(file.descriptor, packed + sealed_header, offset)
        write_fully(
            file.descriptor, cipher.seal_trailer(frame, packed, sealed_header[-TAG_BYTES:], digest.digest()), at
        )
        with self._lock:
            file.end = frame.end
        file.write_footer(file.descriptor)
        return StoredRecord(file.name, offset, frame.length, size, digest.hexdigest(), key.key_id, header)


def _in_chunks(pieces: Iterable[Buffer]) -> Iterator[Buffer]:
    """Yield chunks of exactly 1 MB but for the last; pieces that already are chunks of a list are not copied."""
    if isinstance(pieces, (list, tuple)) and _are_chunks(pieces):
        yield from pieces
        return
    buffer = bytearray(CHUNK_BYTES)
    filled = 0
    for piece in pieces:
        view = memoryview(piece).cast("B")
        while view:
            taken = min(len(view), CHUNK_BYTES - filled)
            buffer[filled : filled + taken] = view[:taken]
            filled += taken
            view = view[taken:]
            if filled == CHUNK_BYTES:
                yield buffer
                buffer, filled = bytearray(CHUNK_BYTES), 0
    if filled:
        yield memoryview(buffer)[:filled]


def _are_chunks(pieces: list[Buffer] | tuple[Buffer, ...]) -> bool:
    return all(len(p) == CHUNK_BYTES for p in pieces[:-1]) and (not pieces or 0 < len(pieces[-1]) <= CHUNK_BYTES)


def _chain(held: list[Buffer], rest: Iterator[Buffer]) -> Iterator[Buffer]:
    held.reverse()
    while held:
        yield held.pop()
    yield from rest


def _with_last(chunks: Iterator[Buffer]) -> Iterator[tuple[Buffer, bool]]:
    present = next(chunks)
    for following in chunks:
        yield present, False
        present = following
    yield present, True
