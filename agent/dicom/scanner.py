"""Find top-level elements of an encoded data set without decoding it.

Job: one walk over the raw bytes (explicit or implicit VR, either byte order) that returns the values of the wanted
elements and of short private elements, skips sequences and stops before pixel data. Place: called by ``facts`` on
every received object, 20-60 µs instead of pydicom's 200-440. It must never copy pixel data, recurse, or read past the
bytes it was given.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydicom.charset import convert_encodings, decode_bytes

UNDEFINED = 0xFFFFFFFF
PIXEL_DATA = 0x7FE00008
MAX_VALUE_BYTES = 16_384
MAX_PRIVATE_BYTES = 128
MAX_DEPTH = 200
TEXT_LIMIT = 256
CHARACTER_SET = 0x00080005
_LONG_FORM = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
_SHORT_FORM = frozenset(
    (b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS",
     b"ST", b"TM", b"UI", b"UL", b"US")
)  # fmt: skip
_ITEM_GROUP, _ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFE, 0xE000, 0xE00D, 0xE0DD


class ScanError(ValueError):
    """The bytes are not the data set that the transfer syntax promises."""


@dataclass(slots=True)
class Elements:
    """What one walk found."""

    values: dict[int, bytes] = field(default_factory=dict)
    private: dict[int, bytes] = field(default_factory=dict)
    """Short values of odd groups, private creators among them."""
    sequences: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Start and end of the wanted sequences."""
    is_truncated: bool = False
    """The bytes ended inside an element."""
    is_whole: bool = False
    """The walk came to the pixel data: there are no more headers."""
    position: int = 0


class _Layout:
    """How element headers are laid out in one transfer syntax."""

    __slots__ = ("explicit", "implicit", "is_implicit", "long_length", "short")

    def __init__(self, *, implicit: bool, big_endian: bool) -> None:
        order = ">" if big_endian else "<"
        self.is_implicit = implicit
        self.implicit = struct.Struct(order + "HHI").unpack_from
        self.explicit = struct.Struct(order + "HH2sH").unpack_from
        self.long_length = struct.Struct(order + "I").unpack_from
        self.short = struct.Struct(order + "HH").unpack_from

    def header(self, data: memoryview, at: int, end: int, implicit: bool) -> tuple[int, int, int, bytes]:
        """Return (tag, length, start of the value, VR) of the element at `at`; the VR is empty when implicit."""
        if implicit or self.short(data, at)[0] == _ITEM_GROUP:
            group, element, length = self.implicit(data, at)
            return group << 16 | element, length, at + 8, b""
        group, element, vr, length = self.explicit(data, at)
        if vr in _SHORT_FORM:
            return group << 16 | element, length, at + 8, vr
        if vr not in _LONG_FORM:
            raise ScanError("an element without a known VR")
        if at + 12 > end:
            raise ScanError("an element header is cut short")
        return group << 16 | element, self.long_length(data, at + 8)[0], at + 12, vr


def scan(data: memoryview, wanted: frozenset[int], *, implicit: bool, big_endian: bool = False) -> Elements:
    """Walk the top level of an encoded data set.

    Parameters
    ----------
    data : memoryview
        The encoded data set, whole or its beginning.
    wanted : frozenset of int
        Tags (group << 16 | element) whose values are returned; of sequences the position.
    implicit, big_endian : bool
        The encoding.

    Raises
    ------
    ScanError
        If the bytes cannot be such a data set.
    """
    layout = _Layout(implicit=implicit, big_endian=big_endian)
    end, at, found, before = len(data), 0, Elements(), -1
    while at + 8 <= end:
        tag, length, start, vr = layout.header(data, at, end, implicit)
        if tag >= PIXEL_DATA:
            found.is_whole = True
            break
        if tag < before:
            raise ScanError("elements out of order")
        before = tag
        if length == UNDEFINED:
            at = _skip_undefined(layout, data, start, implicit or vr == b"UN")
            if at < 0:
                found.is_truncated = True
                break
            if tag in wanted:
                found.sequences[tag] = (start, at)
            continue
        at = start + length
        if at > end:
            found.is_truncated = True
            break
        if tag in wanted:
            if vr == b"SQ":
                found.sequences[tag] = (start, at)
            elif length <= MAX_VALUE_BYTES:
                found.values[tag] = bytes(data[start:at])
                if implicit:
                    found.sequences[tag] = (start, at)
            else:
                found.sequences[tag] = (start, at)
        elif tag & 0x10000 and length <= MAX_PRIVATE_BYTES and vr != b"SQ":
            found.private[tag] = bytes(data[start:at])
    found.position = at
    return found


def _skip_undefined(layout: _Layout, data: memoryview, at: int, implicit: bool) -> int:
    """Return the position after a sequence of undefined length that begins at `at`; -1 when the bytes end before it.

    One flat walk: a stack of encodings instead of recursion, because the depth is the sender's choice.
    """
    end, stack = len(data), [implicit]
    while at + 8 <= end:
        tag, length, start, vr = layout.header(data, at, end, stack[-1])
        group, element = tag >> 16, tag & 0xFFFF
        if group == _ITEM_GROUP and element in (_ITEM_END, _SEQUENCE_END):
            stack.pop()
            at = start
            if not stack:
                return at
        elif length == UNDEFINED:
            if len(stack) == MAX_DEPTH:
                raise ScanError("sequences nested too deep")
            stack.append(stack[-1] or vr == b"UN")
            at = start
        else:
            at = start + length
    return -1


def count_items(data: memoryview, where: tuple[int, int], *, implicit: bool, big_endian: bool = False) -> int:
    """Return how many items the sequence at `where` has (as far as the bytes go).

    Raises
    ------
    ScanError
        If the bytes are no sequence.
    """
    layout = _Layout(implicit=implicit, big_endian=big_endian)
    at, end = where
    count = 0
    while at + 8 <= end:
        tag, length, start, _ = layout.header(data, at, end, implicit)
        if tag >> 16 != _ITEM_GROUP:
            raise ScanError("no item where an item belongs")
        if tag & 0xFFFF == _SEQUENCE_END:
            break
        count += 1
        at = _skip_undefined(layout, data[:end], start, implicit) if length == UNDEFINED else start + length
        if at < 0:
            break
    return count


class ElementReader:
    """Typed access to the elements that a walk found."""

    def __init__(self, elements: Elements, tags: Mapping[str, int], *, big_endian: bool) -> None:
        self._elements, self._tags = elements, tags
        self._order = ">" if big_endian else "<"
        self._creators = {
            (tag >> 16, tag & 0xFF): value.decode("ascii", "replace").strip("\0 ")
            for tag, value in elements.private.items()
            if 0x10 <= tag & 0xFFFF <= 0xFF
        }
        self._blocks = {(group, name): block for (group, block), name in self._creators.items()}
        self._charset = self._encodings()

    def _encodings(self) -> list[str]:
        raw = self._elements.values.get(CHARACTER_SET, b"").decode("ascii", "replace")
        names = [part.strip("\0 ") for part in raw.split("\\")]
        if not any(names):
            return ["iso8859"]
        try:
            encodings: list[str] = convert_encodings(names)
        except (LookupError, ValueError, Warning):
            encodings = ["iso8859"]
        return encodings

    def private(self, group: int, creator: str, element: int) -> bytes | None:
        """Return the value of a private element of a creator's block."""
        block = self._blocks.get((group, creator))
        return None if block is None else self._elements.private.get(group << 16 | block << 8 | element)

    def raw(self, name: str) -> bytes | None:
        """Return the value of an element as it was encoded."""
        return self._elements.values.get(self._tags[name])

    def text(self, name: str) -> str:
        """Return the text of an element, decoded and cut; empty when absent."""
        raw = self.raw(name)
        if raw is None:
            return ""
        if raw.isascii() and b"\x1b" not in raw:
            text = raw.decode()
        else:
            try:
                text = decode_bytes(raw, self._charset, {0x5C, 0x5E, 0x3D, 0x0A, 0x0D})
            except (LookupError, ValueError, Warning):
                text = raw.decode("latin-1")
        return text.strip("\0 ")[:TEXT_LIMIT]

    def optional(self, name: str) -> str | None:
        """Return the text of an element, or None."""
        return self.text(name) or None

    def texts(self, name: str) -> tuple[str, ...]:
        """Return the values of a multi-valued text."""
        return tuple(part.strip() for part in self.text(name).split("\\") if part.strip())

    def uid(self, name: str) -> str:
        """Return a UID as it stands."""
        raw = self.raw(name) or b""
        return raw.decode("ascii", "replace").strip("\0 ")

    def decimals(self, name: str, count: int) -> tuple[float, ...] | None:
        """Return `count` decimal strings."""
        return decimals_of(self.raw(name), count)

    def decimal(self, name: str) -> float | None:
        """Return the first decimal string."""
        values = decimals_of(self.raw(name), 1)
        return values[0] if values else None

    def integer(self, name: str) -> int | None:
        """Return the first integer string."""
        value = self.decimal(name)
        return None if value is None else int(value)

    def binary(self, raw: bytes | None, kind: str, count: int = 1) -> tuple[float, ...] | None:
        """Return binary numbers (struct letter `kind`); None when the length does not fit."""
        layout = f"{self._order}{count}{kind}"
        if raw is None or len(raw) != struct.calcsize(layout):
            return None
        return tuple(v for v in struct.unpack(layout, raw) if v == v)  # noqa: PLR0124 - drops NaN

    def unsigned(self, name: str) -> int | None:
        """Return an US."""
        values = self.binary(self.raw(name), "H")
        return int(values[0]) if values else None


def decimals_of(raw: bytes | None, count: int) -> tuple[float, ...] | None:
    """Return the first `count` values of a DS or IS; None when there are fewer or they are no numbers."""
    if raw is None:
        return None
    try:
        if count == 1:
            value = float(raw.strip(b"\0 ").partition(b"\\")[0])
            return (value,) if abs(value) < 1e15 else None
        values = tuple(map(float, raw.strip(b"\0 ").split(b"\\")[:count]))
    except ValueError:
        return None
    return values if len(values) == count and all(abs(v) < 1e15 for v in values) else None
