"""Reading stored objects.

Job: give back the bytes of an object, authenticated, and the Part 10 header to put before them. Place: used by
workers, export and verification in any process; needs only the secrets of the keys it is handed. It must never return
a byte that was not authenticated, nor the bytes of another object than the one asked for.
"""

from __future__ import annotations

import os
import struct
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from agent.errors import IntegrityError
from agent.store.segments.record import (
    FILE_HEADER_BYTES,
    FRAME_BYTES,
    RECORD,
    TAG_BYTES,
    TRAILER_BYTES,
    Frame,
    RecordCipher,
    RecordHeader,
    chunk_extents,
    parse_frame,
    read_binding,
)

IMPLEMENTATION_CLASS_UID = "2.25.185142697216832527882614264521664160930"
IMPLEMENTATION_VERSION_NAME = "IMAGING_AGENT_1"
OPEN_FILES = 16


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """Everything needed to find one stored object and to know that it is the right one."""

    instance_id: int
    segment: str
    offset: int
    length: int
    key_id: str
    size_bytes: int
    sha256: str
    sop_class_uid: str
    sop_uid: str
    series_uid: str
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True)
class OpenedRecord:
    """A record whose header and trailer have been authenticated."""

    frame: Frame
    header: RecordHeader
    tag_digest: bytes
    sha256: str
    cipher: RecordCipher


class ObjectReader:
    """Reads objects from segments.

    Parameters
    ----------
    folder : Path
        The folder of segments.
    secrets : mapping
        Secret of each key id that will be needed.
    """

    def __init__(self, folder: Path, secrets: Mapping[str, bytes]) -> None:
        self._folder = folder
        self._secrets = secrets
        self._files: OrderedDict[str, tuple[int, bytes]] = OrderedDict()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Close the files that are open."""
        while self._files:
            os.close(self._files.popitem()[1][0])

    def read(self, ref: ObjectRef) -> bytes:
        """Return the data set of `ref` as it was received.

        Raises
        ------
        IntegrityError
            When anything of it was changed, is missing or belongs to another object.
        """
        return b"".join(self.chunks(ref))

    def chunks(self, ref: ObjectRef) -> Iterator[bytes]:
        """Yield the data set of `ref` in authenticated pieces of 1 MB at most.

        A reader that must not act on half an object consumes all of it first: that nothing is missing shows at the end.

        Raises
        ------
        IntegrityError
            When anything of it was changed, is missing or belongs to another object.
        """
        opened = self.open(ref.segment, ref.offset, ref.key_id)
        if (
            opened.sha256 != ref.sha256
            or opened.frame.size_bytes != ref.size_bytes
            or opened.frame.length != ref.length
            or opened.header.sop_uid != ref.sop_uid
        ):
            raise IntegrityError("A record of the store is not the one the index names.", code="record_mismatch")
        yield from self.payload(ref.segment, opened)

    def open(self, segment: str, offset: int, key_id: str | None = None) -> OpenedRecord:
        """Authenticate header and trailer of the record at `offset`.

        Raises
        ------
        IntegrityError
            When they were changed or belong elsewhere, or the key is not `key_id`.
        """
        descriptor, binding = self._file(segment)
        packed = os.pread(descriptor, FRAME_BYTES, offset)
        frame = parse_frame(packed, binding, offset)
        if frame is None or frame.kind != RECORD or (key_id is not None and frame.key_id != key_id):
            raise IntegrityError("A record of the store is damaged or missing.", code="record_frame")
        secret = self._secrets.get(frame.key_id)
        if secret is None:
            raise IntegrityError("The data key of an object is not at hand.", code="key_missing")
        cipher = RecordCipher(secret, binding, offset, frame.salt)
        sealed = os.pread(descriptor, frame.header_bytes, frame.header_at)
        header = cipher.open_header(packed, sealed)
        trailer = os.pread(descriptor, TRAILER_BYTES, frame.trailer_at)
        tags, sha256 = cipher.open_trailer(frame, packed, sealed[-TAG_BYTES:], trailer)
        return OpenedRecord(frame, header, tags, sha256.hex(), cipher)

    def payload(self, segment: str, opened: OpenedRecord) -> Iterator[bytes]:
        """Yield the chunks of an opened record.

        Raises
        ------
        IntegrityError
            When one was changed or is missing.
        """
        descriptor, _ = self._file(segment)
        for number, at, length, is_last in chunk_extents(opened.frame):
            yield opened.cipher.open_chunk(number, os.pread(descriptor, length, at), last=is_last)
        if opened.cipher.tag_digest != opened.tag_digest:
            raise IntegrityError("An object is not complete.", code="record_tags")

    def _file(self, segment: str) -> tuple[int, bytes]:
        known = self._files.get(segment)
        if known is not None:
            self._files.move_to_end(segment)
            return known
        if "/" in segment or not segment.endswith(".seg"):
            raise IntegrityError("A record names a segment that cannot exist.", code="segment_name")
        try:
            descriptor = os.open(self._folder / segment, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise IntegrityError("A segment is missing.", code="segment_missing") from error
        binding = read_binding(os.pread(descriptor, FILE_HEADER_BYTES, 0), segment)
        if binding is None:
            os.close(descriptor)
            raise IntegrityError("The start of a segment is damaged.", code="segment_header")
        while len(self._files) >= OPEN_FILES:
            os.close(self._files.popitem(last=False)[1][0])
        self._files[segment] = (descriptor, binding)
        return descriptor, binding


def _element(group: int, element: int, vr: bytes, value: bytes) -> bytes:
    value += (b"\0" if vr in (b"UI", b"OB") else b" ") * (len(value) % 2)
    if vr == b"OB":
        return struct.pack("<HH2sHI", group, element, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", group, element, vr, len(value)) + value


def part10_header(ref: ObjectRef) -> bytes:
    """Return preamble, prefix and file meta information (PS3.10 7.1) for the data set of `ref`.

    The preamble is zero, always: a sender's preamble may be a program (CVE-2019-11687).
    """
    meta = b"".join(
        (
            _element(2, 0x0001, b"OB", b"\x00\x01"),
            _element(2, 0x0002, b"UI", ref.sop_class_uid.encode("ascii", "replace")),
            _element(2, 0x0003, b"UI", ref.sop_uid.encode("ascii", "replace")),
            _element(2, 0x0010, b"UI", ref.transfer_syntax_uid.encode("ascii", "replace")),
            _element(2, 0x0012, b"UI", IMPLEMENTATION_CLASS_UID.encode()),
            _element(2, 0x0013, b"SH", IMPLEMENTATION_VERSION_NAME.encode()),
        )
    )
    return bytes(128) + b"DICM" + _element(2, 0x0000, b"UL", struct.pack("<I", len(meta))) + meta
