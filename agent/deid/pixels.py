"""What can carry text beside the pixels, inside the pixel data element.

Job: take comments and application segments out of JPEG, JPEG-LS and JPEG 2000 frames, cut what stands behind the end
of a frame, and clear unused bits in which overlay planes are declared. Place: called by ``engine``. It must never
change a decoded pixel: where it cannot be sure, the object is excluded.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from agent.deid.elements import unreadable

_JPEG = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (*range(50, 67), 70, 80, 81))
_JPEG_2000 = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (90, 91, 92, 93, 201, 202, 203))
_RLE = "1.2.840.10008.1.2.5"
_TEXT = re.compile(rb"[\x20-\x7e]{6}")
_ITEM, _END = struct.pack("<HH", 0xFFFE, 0xE000), struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
_ADOBE = 0xEE  # APP14 says how colours were transformed; decoders need it


def clean_fragments(value: bytes | memoryview, transfer_syntax_uid: str) -> bytes | memoryview:
    """Return encapsulated pixel data with text-bearing segments removed.

    Parameters
    ----------
    value : bytes
        Basic offset table, fragments and sequence delimiter (PS3.5 A.4).
    transfer_syntax_uid : str
        Tells how the frames are compressed.

    Returns
    -------
    bytes
        `value` itself when nothing had to go.

    Raises
    ------
    DeidError
        When the compression is none that can be searched for text.
    """
    if transfer_syntax_uid in _JPEG:
        clean: Callable[[bytes], bytes] = strip_jpeg
    elif transfer_syntax_uid in _JPEG_2000:
        clean = strip_jpeg_2000
    elif transfer_syntax_uid == _RLE:
        clean = bytes
    else:
        unreadable("its compression cannot be searched for text")
    table, fragments = _split(value)
    cleaned = [clean(fragment) for fragment in fragments]
    offsets = _new_offsets(table, fragments, cleaned)
    if offsets == table and all(len(new) == len(old) for new, old in zip(cleaned, fragments, strict=True)):
        return value
    parts = [offsets, *cleaned]
    return b"".join(_ITEM + struct.pack("<L", len(part)) + part for part in parts) + _END


def _split(value: bytes | memoryview) -> tuple[bytes, list[bytes]]:
    parts, position = [], 0
    while position + 8 <= len(value) and bytes(value[position : position + 4]) == _ITEM:
        length = struct.unpack_from("<L", value, position + 4)[0]
        parts.append(bytes(value[position + 8 : position + 8 + length]))
        position += 8 + length
    if not parts:
        unreadable("its pixel data have no offset table")
    return parts[0], parts[1:]


def _new_offsets(table: bytes, old: list[bytes], new: list[bytes]) -> bytes:
    """Return the basic offset table for fragments that became shorter; empty when the old one does not fit."""
    moved, before, after = {}, 0, 0
    for was, now in zip(old, new, strict=True):
        moved[before] = after
        before, after = before + 8 + len(was), after + 8 + len(now)
    offsets = struct.unpack(f"<{len(table) // 4}L", table[: len(table) // 4 * 4])
    if not all(offset in moved for offset in offsets):
        return b""
    return struct.pack(f"<{len(offsets)}L", *(moved[offset] for offset in offsets))


def strip_jpeg(fragment: bytes) -> bytes:
    """Return a JPEG or JPEG-LS fragment without APPn (but Adobe's) and COM segments, cut behind EOI (ISO 10918-1 B)."""
    if not fragment.startswith(b"\xff\xd8"):
        return fragment  # continues a frame that began in another fragment
    kept, position = [b"\xff\xd8"], 2
    while position + 4 <= len(fragment):
        while position + 1 < len(fragment) and fragment[position + 1] == 0xFF:
            position += 1  # fill bytes before a marker
        marker = fragment[position + 1]
        length = int.from_bytes(fragment[position + 2 : position + 4], "big")
        if fragment[position] != 0xFF or length < 2:
            unreadable("a JPEG frame is damaged")
        segment = fragment[position : position + 2 + length]
        if marker == 0xDA:
            break
        adobe = marker == _ADOBE and segment[4:9] == b"Adobe" and len(segment) == 16
        if adobe or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            kept.append(segment)
        position += 2 + length
    scan = fragment[position:]
    end = scan.rfind(b"\xff\xd9")
    kept.append(scan[: end + 2] if end >= 0 else scan)
    return _even(b"".join(kept), fragment)


def strip_jpeg_2000(fragment: bytes) -> bytes:
    """Return a JPEG 2000 codestream without COM segments in its main header, cut behind EOC (ISO 15444-1 A)."""
    if not fragment.startswith(b"\xff\x4f"):
        if fragment[4:8] == b"jP  ":
            unreadable("a JPEG 2000 frame is wrapped in a file that may carry text")
        return fragment
    kept, position = [b"\xff\x4f"], 2
    while position + 4 <= len(fragment):
        marker = fragment[position : position + 2]
        if marker == b"\xff\x90":
            break
        length = int.from_bytes(fragment[position + 2 : position + 4], "big")
        if marker[0] != 0xFF or length < 2:
            unreadable("a JPEG 2000 frame is damaged")
        if marker != b"\xff\x64":
            kept.append(fragment[position : position + 2 + length])
        position += 2 + length
    tiles = fragment[position:]
    _refuse_tile_comments(tiles)
    end = tiles.rfind(b"\xff\xd9")
    kept.append(tiles[: end + 2] if end >= 0 else tiles)
    return _even(b"".join(kept), fragment)


def _refuse_tile_comments(tiles: bytes) -> None:
    """Exclude a frame whose tile-part headers hold text: taking it out would move every tile."""
    position = 0
    while tiles[position : position + 2] == b"\xff\x90" and position + 12 <= len(tiles):
        length = int.from_bytes(tiles[position + 6 : position + 10], "big")
        stop = tiles.find(b"\xff\x93", position)
        inner = position + 12
        while 0 <= inner < stop:
            size = int.from_bytes(tiles[inner + 2 : inner + 4], "big")
            if tiles[inner : inner + 2] == b"\xff\x64" and _TEXT.search(tiles, inner + 6, inner + 2 + size):
                unreadable("a JPEG 2000 tile carries text")
            inner += 2 + max(size, 2)
        if length == 0:
            return
        position += length


def _even(new: bytes, old: bytes) -> bytes:
    """Return the old bytes when only padding differs, else the new ones at even length."""
    if old.rstrip(b"\x00") == new:
        return old
    return new + b"\x00" if len(new) & 1 else new


def clear_unused_bits(value: bytes | memoryview, bits_stored: int, little: bool) -> bytes:
    """Return 16-bit unsigned pixels with the bits above Bits Stored cleared.

    One AND over the whole value as a number: 1 GB/s without decoding a pixel.
    """
    mask = ((1 << bits_stored) - 1).to_bytes(2, "little" if little else "big")
    whole = bytes(value)
    masked = int.from_bytes(whole, "little") & int.from_bytes(mask * (len(whole) // 2), "little")
    return masked.to_bytes(len(whole), "little")
