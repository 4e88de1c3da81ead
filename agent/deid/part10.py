"""The container around a data set.

Job: find data set and transfer syntax in a Part 10 file, undo deflation within bounds, and write our own container:
zero preamble, file meta information of ours and nothing of the sender's (PS3.10 7). Place: called by ``worker`` and
``folder``.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from agent.deid.elements import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    Encoding,
    encode_header,
    encode_text,
    unreadable,
)
from agent.store.objects import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

EXPLICIT_LE_UID, IMPLICIT_LE_UID = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
DEFLATED_UID, BIG_ENDIAN_UID = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
_INFLATED_MAX = 64 * 1024 * 1024
_INFLATED_RATIO = 100


@dataclass(frozen=True, slots=True)
class Encoded:
    """A data set and how it is encoded; never deflated."""

    data: bytes | memoryview
    encoding: Encoding
    transfer_syntax_uid: str


def decode_container(data: bytes | memoryview, transfer_syntax_uid: str) -> Encoded:
    """Return the plain encoded data set of a transfer syntax.

    A deflated data set becomes Explicit VR Little Endian and leaves as such.

    Raises
    ------
    DeidError
        When a deflated data set is damaged or larger than 64 MiB and 100 times its size.
    """
    if transfer_syntax_uid == DEFLATED_UID:
        return Encoded(inflate(data), EXPLICIT_LITTLE, EXPLICIT_LE_UID)
    if transfer_syntax_uid == IMPLICIT_LE_UID:
        return Encoded(data, IMPLICIT_LITTLE, transfer_syntax_uid)
    if transfer_syntax_uid == BIG_ENDIAN_UID:
        return Encoded(data, EXPLICIT_BIG, transfer_syntax_uid)
    return Encoded(data, EXPLICIT_LITTLE, transfer_syntax_uid)


def inflate(data: bytes | memoryview) -> bytes:
    """Return an inflated data set, bounded (PS3.5 A.5)."""
    limit = min(_INFLATED_MAX, max(1_048_576, _INFLATED_RATIO * len(data)))
    decompressor = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        plain = decompressor.decompress(data, limit)
    except zlib.error:
        unreadable("its deflated form is damaged")
    if not decompressor.eof:
        unreadable("its deflated form is cut short or grows beyond bounds")
    return plain


def split_part10(content: bytes) -> tuple[bytes | memoryview, str]:
    """Return data set and transfer syntax of a file, with or without preamble and file meta information."""
    view = memoryview(content)
    if content[128:132] != b"DICM":
        return view, _guess_syntax(content)
    position, syntax = 132, ""
    while position + 8 <= len(content) and content[position : position + 2] == b"\x02\x00":
        number = struct.unpack_from("<H", content, position + 2)[0]
        if content[position + 4 : position + 6] in (b"OB", b"UN", b"UT", b"OW"):
            length, start = struct.unpack_from("<L", content, position + 8)[0], position + 12
        else:
            length, start = struct.unpack_from("<H", content, position + 6)[0], position + 8
        if number == 0x0010:
            syntax = content[start : start + length].decode("latin-1").rstrip(" \x00")
        position = start + length
    if position > len(content):
        unreadable("its file meta information is longer than the file")
    data = view[position:]
    return data, syntax or _guess_syntax(bytes(data[:8]))


def _guess_syntax(start: bytes) -> str:
    """Return the transfer syntax of a data set that has no file meta information, from its first element."""
    if len(start) < 8 or start[:2] not in (b"\x08\x00", b"\x00\x08", b"\x02\x00"):
        unreadable("it does not begin like a DICOM object")
    if start[:2] == b"\x00\x08":
        return BIG_ENDIAN_UID
    return EXPLICIT_LE_UID if start[4:6].isalpha() and start[4:6].isupper() else IMPLICIT_LE_UID


def part10_start(sop_class_uid: str, sop_uid: str, transfer_syntax_uid: str) -> bytes:
    """Return a zero preamble and our own file meta information."""
    e = EXPLICIT_LITTLE
    meta = b"".join(
        (
            encode_header(0x00020001, "OB", 2, e) + b"\x00\x01",
            encode_text(0x00020002, "UI", sop_class_uid, e),
            encode_text(0x00020003, "UI", sop_uid, e),
            encode_text(0x00020010, "UI", transfer_syntax_uid, e),
            encode_text(0x00020012, "UI", IMPLEMENTATION_CLASS_UID, e),
            encode_text(0x00020013, "SH", IMPLEMENTATION_VERSION_NAME, e),
        )
    )
    length = encode_header(0x00020000, "UL", 4, e) + struct.pack("<L", len(meta))
    return b"\x00" * 128 + b"DICM" + length + meta
