"""Find top-level elements of an encoded data set without decoding it.

Job: one walk over the raw bytes (explicit or implicit VR, either byte order) that returns the values of the wanted elements and
of short private elements, skips sequences and stops before pixel data. Place: called by ``facts`` on every received object,
20-60 µs instead of pydicom's 200-440. It must never copy pixel data, recurse, or read past the bytes it was given.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

UNDEFINED = 0xFFFFFFFF
PIXEL_DATA = 0x7FE00008
MAX_VALUE_BYTES = 16_384
MAX_PRIVATE_BYTES = 128
MAX_DEPTH = 200
_LONG_FORM = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
_SHORT_FORM = frozenset(
    (b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS", b"ST",
     b"TM", b"UI", b"UL", b"US")
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
