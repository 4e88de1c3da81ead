"""The format of a record: one received object, encrypted.

Job: lay out, seal and open the parts of a record. Place: used by the segment writer, the reader of objects and
recovery; pure but for random salts. It must never use a key twice with one nonce: each record has a key of its own,
derived from the study key and a random salt, and each part a nonce of its own.

    frame (80 bytes, plain) | sealed header | sealed chunks of 1 MB | sealed trailer (96 bytes) | zeros up to 16

The frame names key, lengths and offset, so that a scan goes from record to record without any key. It also carries
the watermark: everything in the segment below it was durable when the record was begun. Header, chunks and trailer
are bound to segment, offset and salt; the trailer, which seals the digest of all chunk tags, is bound to frame and
header too.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from operator import attrgetter

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from agent.errors import IntegrityError

CHUNK_BYTES = 1_048_576
TAG_BYTES = 16
ALIGNMENT = 16
FRAME_BYTES = 80
FILE_HEADER_BYTES = 64
TRAILER_BYTES = 80 + TAG_BYTES
KEY_INFO = b"imaging-agent object 1\0"

FRAME_MAGIC = b"IIAR"
FILE_MAGIC = b"IIASEG01"
RECORD, VOID, FOOTER = 1, 2, 3

_FRAME = struct.Struct("<4sBBxxIQQQQ16s16s")
_FILE = struct.Struct("<8s16s")
_CRC = struct.Struct("<I")
_NONCE = struct.Struct(">B6xIB")
_TRAILER = struct.Struct("<32s32sQQ")
_PLACE = struct.Struct("<Q")
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
_HEADER_PART, _CHUNK_PART, _TRAILER_PART = 1, 2, 3


@dataclass(frozen=True, slots=True)
class RecordHeader:
    """What the index needs of an object; sealed with the study key, so that the segments are the journal."""

    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    calling_aet: str
    called_aet: str
    association_id: str
    received_at: float
    facts_json: str

    def to_bytes(self) -> bytes:
        """Return the form that is sealed."""
        # not astuple, which copies deeply: 13 µs an object
        return _encode(_header_fields(self)).encode()

    @classmethod
    def from_bytes(cls, raw: bytes) -> RecordHeader:
        """Read the form that was sealed.

        Raises
        ------
        IntegrityError
            When it is not one.
        """
        try:
            return cls(*json.loads(raw)[: len(fields(cls))])
        except (ValueError, TypeError) as error:
            raise IntegrityError("The header of a record cannot be read.", code="record_header") from error


_header_fields = attrgetter(*(field.name for field in fields(RecordHeader)))


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """Where an object lies and what it is."""

    segment: str
    offset: int
    length: int
    size_bytes: int
    sha256: str
    key_id: str
    header: RecordHeader


@dataclass(frozen=True, slots=True)
class Frame:
    """The plain part of a record."""

    kind: int
    header_bytes: int
    size_bytes: int
    offset: int
    watermark: int
    sequence: int
    key_id: str
    salt: bytes

    @property
    def chunk_count(self) -> int:
        """Chunks of the object; an empty object has one."""
        return max(1, -(-self.size_bytes // CHUNK_BYTES))

    @property
    def header_at(self) -> int:
        """Offset of the sealed header in the file."""
        return self.offset + FRAME_BYTES

    @property
    def payload_at(self) -> int:
        """Offset of the first chunk in the file."""
        return self.header_at + self.header_bytes

    @property
    def trailer_at(self) -> int:
        """Offset of the trailer in the file."""
        return self.payload_at + self.size_bytes + self.chunk_count * TAG_BYTES

    @property
    def length(self) -> int:
        """Bytes of the whole record."""
        if self.kind == FOOTER:
            return FRAME_BYTES
        return record_length(self.header_bytes, self.size_bytes)

    @property
    def end(self) -> int:
        """Offset behind the record."""
        return self.offset + self.length

    def pack(self, binding: bytes) -> bytes:
        """Return the bytes of the frame."""
        key_id = self.key_id.encode("ascii")
        if len(key_id) > 16:
            raise ValueError("A key id has 16 characters at most.")
        body = _FRAME.pack(
            FRAME_MAGIC, self.kind, 1, self.header_bytes, self.size_bytes, self.offset, self.watermark, self.sequence,
            key_id, self.salt,
        )  # fmt: skip
        return body + _CRC.pack(zlib.crc32(body, zlib.crc32(binding)))


def parse_frame(raw: bytes | memoryview, binding: bytes, offset: int) -> Frame | None:
    """Return the frame in `raw` that lies at `offset` of the segment, None when there is no intact one."""
    if len(raw) < FRAME_BYTES or raw[:4] != FRAME_MAGIC:
        return None
    body = raw[: FRAME_BYTES - 4]
    if _CRC.unpack_from(raw, FRAME_BYTES - 4)[0] != zlib.crc32(body, zlib.crc32(binding)):
        return None
    _, kind, _, header_bytes, size, at, watermark, sequence, key_id, salt = _FRAME.unpack(body)
    if at != offset or kind not in (RECORD, VOID, FOOTER):
        return None
    name = key_id.rstrip(b"\0").decode("ascii", "replace")
    return Frame(kind, header_bytes, size, at, watermark, sequence, name, salt)


def record_length(header_bytes: int, size_bytes: int) -> int:
    """Return the bytes a record takes in a segment."""
    chunks = max(1, -(-size_bytes // CHUNK_BYTES))
    plain = FRAME_BYTES + header_bytes + size_bytes + chunks * TAG_BYTES + TRAILER_BYTES
    return -(-plain // ALIGNMENT) * ALIGNMENT


def file_header(segment_id: bytes) -> bytes:
    """Return the first bytes of a segment file."""
    body = _FILE.pack(FILE_MAGIC, segment_id)
    return (body + _CRC.pack(zlib.crc32(body))).ljust(FILE_HEADER_BYTES, b"\0")


def read_binding(raw: bytes, segment: str) -> bytes | None:
    """Return what binds records to the segment of this name, None when `raw` is not the start of a segment file."""
    if len(raw) < FILE_HEADER_BYTES or raw[:8] != FILE_MAGIC:
        return None
    if _CRC.unpack_from(raw, _FILE.size)[0] != zlib.crc32(raw[: _FILE.size]):
        return None
    return binding_of(segment, _FILE.unpack_from(raw)[1])


def binding_of(segment: str, segment_id: bytes) -> bytes:
    """Return what binds records to a segment: its name and its random id, hashed."""
    return hashlib.sha256(segment.encode() + b"\0" + segment_id).digest()[:16]


def derive_object_key(secret: bytes, salt: bytes) -> bytes:
    """Derive a record's own key: HKDF-Expand (RFC 5869) with SHA-256, one block; the study key is uniform already."""
    return hmac.digest(secret, KEY_INFO + salt + b"\x01", "sha256")


def _nonce(part: int, counter: int = 0, *, last: bool = False) -> bytes:
    return _NONCE.pack(part, counter, int(last))


class RecordCipher:
    """Seals and opens the parts of one record.

    Parameters
    ----------
    secret : bytes
        The study key.
    binding : bytes
        Of the segment.
    offset : int
        Where the record begins.
    salt : bytes
        Random, of this record only.
    """

    def __init__(self, secret: bytes, binding: bytes, offset: int, salt: bytes) -> None:
        self._cipher = AESGCM(derive_object_key(secret, salt))
        self._place = binding + _PLACE.pack(offset) + salt
        self._tags = hashlib.sha256()

    def seal_header(self, frame: bytes, header: bytes) -> bytes:
        """Return the sealed header."""
        return self._cipher.encrypt(_nonce(_HEADER_PART), header, self._place + frame)

    def seal_chunk(self, number: int, plain: bytes | memoryview, target: memoryview, *, last: bool) -> None:
        """Encrypt a chunk into `target`, which is longer by the tag."""
        self._cipher.encrypt_into(_nonce(_CHUNK_PART, number, last=last), plain, self._place, target)
        self._tags.update(target[-TAG_BYTES:])

    def seal_trailer(self, frame: Frame, packed: bytes, header_tag: bytes, sha256: bytes) -> bytes:
        """Return the sealed trailer; after all chunks."""
        plain = _TRAILER.pack(self._tags.digest(), sha256, frame.size_bytes, frame.offset)
        return self._cipher.encrypt(_nonce(_TRAILER_PART), plain, self._place + packed + header_tag)

    def open_header(self, frame: bytes, sealed: bytes) -> RecordHeader:
        """Return the header.

        Raises
        ------
        IntegrityError
            When it was changed or belongs elsewhere.
        """
        try:
            return RecordHeader.from_bytes(self._cipher.decrypt(_nonce(_HEADER_PART), sealed, self._place + frame))
        except (InvalidTag, ValueError) as error:
            raise IntegrityError("The header of a record is damaged.", code="record_header") from error

    def open_chunk(self, number: int, sealed: bytes | memoryview, *, last: bool) -> bytes:
        """Return the plain bytes of a chunk.

        Raises
        ------
        IntegrityError
            When it was changed or belongs elsewhere.
        """
        try:
            plain = self._cipher.decrypt(_nonce(_CHUNK_PART, number, last=last), sealed, self._place)
        except (InvalidTag, ValueError) as error:
            raise IntegrityError("A part of an object is damaged.", code="record_chunk") from error
        self._tags.update(sealed[-TAG_BYTES:])
        return plain

    def open_trailer(self, frame: Frame, packed: bytes, header_tag: bytes, sealed: bytes) -> tuple[bytes, bytes]:
        """Return digest of the chunk tags and SHA-256 of the plain bytes.

        Raises
        ------
        IntegrityError
            When it was changed or does not belong to frame and header.
        """
        try:
            plain = self._cipher.decrypt(_nonce(_TRAILER_PART), sealed, self._place + packed + header_tag)
        except (InvalidTag, ValueError) as error:
            raise IntegrityError("The trailer of a record is damaged.", code="record_trailer") from error
        tags, sha256, size, offset = _TRAILER.unpack(plain)
        if size != frame.size_bytes or offset != frame.offset:
            raise IntegrityError("The trailer of a record belongs to another.", code="record_trailer")
        return tags, sha256

    @property
    def tag_digest(self) -> bytes:
        """Digest of the tags of the chunks sealed or opened so far."""
        return self._tags.digest()


def chunk_extents(frame: Frame) -> Iterator[tuple[int, int, int, bool]]:
    """Yield number, offset in the file, sealed length and whether it is the last, for each chunk."""
    at, left, count = frame.payload_at, frame.size_bytes, frame.chunk_count
    for number in range(count):
        plain = min(CHUNK_BYTES, left)
        yield number, at, plain + TAG_BYTES, number == count - 1
        at += plain + TAG_BYTES
        left -= plain
