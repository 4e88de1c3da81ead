"""The elements of a data set, as places in its bytes.

Job: read the structure of an encoded data set (explicit or implicit VR, little or big endian) into a tree without
decoding or copying values, and encode single elements. Place: called by ``engine``; knows PS3.5 chapter 7 and nothing
of identities. It must never read past a bound that the data set itself declares: a length that does not fit is an
error, not the end.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

from pydicom.datadict import DicomDictionary  # type: ignore[attr-defined]

from agent.errors import DeidError

DEPTH_MAX = 32
UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_LONG = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
_VRS = _LONG | {
    "AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN", "SH", "SL", "SS", "ST", "TM", "UI",
    "UL", "US",
}  # fmt: skip
_PIXEL_TAG = 0x7FE00010


class Encoding(NamedTuple):
    """How elements are written."""

    explicit: bool
    little: bool

    @property
    def order(self) -> str:
        """Byte order in the language of ``struct``."""
        return "<" if self.little else ">"


IMPLICIT_LITTLE = Encoding(explicit=False, little=True)
EXPLICIT_LITTLE = Encoding(explicit=True, little=True)
EXPLICIT_BIG = Encoding(explicit=True, little=False)


@dataclass(slots=True)
class Element:
    """One element: where its header and value lie, and its items when it is a sequence."""

    tag: int
    vr: str
    header: int
    start: int
    stop: int
    encoding: Encoding
    items: list[list[Element]] | None = None
    encapsulated: bool = False


def unreadable(what: str) -> NoReturn:
    """Raise the error of a data set that cannot be read to its end."""
    raise DeidError(
        f"The data set cannot be read: {what}.", code="deid_unreadable", hint="Ask the sender for the object again."
    )


class ElementReader:
    """Reads the elements of one data set.

    Parameters
    ----------
    data : bytes
        The encoded data set.
    """

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = data
        self._header = {order: struct.Struct(f"{order}HH").unpack_from for order in "<>"}
        self._short = {order: struct.Struct(f"{order}H").unpack_from for order in "<>"}
        self._long = {order: struct.Struct(f"{order}L").unpack_from for order in "<>"}

    def read(self, encoding: Encoding) -> list[Element]:
        """Return the elements of the whole data set.

        Raises
        ------
        DeidError
            ``deid_unreadable`` for lengths that do not fit, unknown VRs, items nested deeper than 32.
        """
        elements, _ = self._dataset(0, len(self._data), encoding, 0, delimited=False)
        return elements

    def read_items(self, element: Element, encoding: Encoding, depth: int) -> list[list[Element]]:
        """Return the items in the value of an element that was not known to be a sequence."""
        items, _ = self._items(element.start, element.stop, encoding, depth, delimited=False)
        return items

    def _dataset(
        self, position: int, end: int, encoding: Encoding, depth: int, *, delimited: bool
    ) -> tuple[list[Element], int]:
        if depth > DEPTH_MAX:
            unreadable(f"sequences are nested deeper than {DEPTH_MAX}")
        elements: list[Element] = []
        header, data = self._header[encoding.order], self._data
        while position + 8 <= end:
            group, number = header(data, position)
            tag = group << 16 | number
            if tag == ITEM_END and delimited:
                return elements, position + 8
            if group in (0x0000, 0xFFFE):
                return elements, self._padding(position, end, delimited=delimited)
            element, position = self._element(tag, position, end, encoding, depth)
            elements.append(element)
        if delimited:
            unreadable("an item has no end")
        return elements, self._padding(position, end, delimited=False) if position < end else end

    def _padding(self, position: int, end: int, *, delimited: bool) -> int:
        """Accept zeros after the last element; some writers leave them."""
        if delimited or bytes(self._data[position:end]).strip(b"\x00"):
            unreadable("something other than elements stands between its elements")
        return end

    def _element(self, tag: int, position: int, end: int, encoding: Encoding, depth: int) -> tuple[Element, int]:
        vr, length, start = self._element_header(tag, position, end, encoding)
        element = Element(tag, vr, position, start, start, encoding)
        if length == UNDEFINED:
            if tag == _PIXEL_TAG and vr != "SQ":
                element.encapsulated = True
                element.stop = self._fragments(start, end)
                return element, element.stop
            inner = IMPLICIT_LITTLE if vr == "UN" else encoding  # PS3.5 6.2.2 note 4
            if vr not in ("SQ", "UN"):
                unreadable("an element that is no sequence has an undefined length")
            element.items, element.stop = self._items(start, end, inner, depth, delimited=True)
            return element, element.stop
        element.stop = start + length
        if element.stop > end:
            unreadable("an element is longer than what contains it")
        if vr == "SQ":
            element.items, _ = self._items(start, element.stop, encoding, depth, delimited=False)
        return element, element.stop

    def _element_header(self, tag: int, position: int, end: int, encoding: Encoding) -> tuple[str, int, int]:
        """Return VR, length and the place of the value."""
        data, order = self._data, encoding.order
        if not encoding.explicit:
            entry = DicomDictionary.get(tag)
            length = self._long[order](data, position + 4)[0]
            vr = entry[0] if entry else "UN"
            return ("SQ" if length == UNDEFINED and tag != _PIXEL_TAG else vr), length, position + 8
        vr = bytes(data[position + 4 : position + 6]).decode("latin-1")
        if vr not in _VRS:
            unreadable("an element has no valid VR")
        if vr not in _LONG:
            return vr, self._short[order](data, position + 6)[0], position + 8
        if position + 12 > end:
            unreadable("it ends within an element")
        return vr, self._long[order](data, position + 8)[0], position + 12

    def _items(
        self, position: int, end: int, encoding: Encoding, depth: int, *, delimited: bool
    ) -> tuple[list[list[Element]], int]:
        items: list[list[Element]] = []
        order = encoding.order
        while position + 8 <= end:
            group, number = self._header[order](self._data, position)
            length = self._long[order](self._data, position + 4)[0]
            tag = group << 16 | number
            position += 8
            if tag == SEQUENCE_END:
                if delimited or position == end:
                    return items, position
                unreadable("a sequence ends too early")
            if tag != ITEM:
                unreadable("a sequence holds something other than items")
            stop = end if length == UNDEFINED else position + length
            if stop > end:
                unreadable("an item is longer than its sequence")
            elements, position = self._dataset(position, stop, encoding, depth + 1, delimited=length == UNDEFINED)
            items.append(elements)
        if delimited or position != end:
            unreadable("a sequence has no end")
        return items, position

    def _fragments(self, position: int, end: int) -> int:
        """Return where encapsulated pixel data end (PS3.5 A.4; always little endian)."""
        while position + 8 <= end:
            group, number = self._header["<"](self._data, position)
            length = self._long["<"](self._data, position + 4)[0]
            tag = group << 16 | number
            position += 8
            if tag == SEQUENCE_END:
                return position
            if tag != ITEM or position + length > end:
                break
            position += length
        unreadable("its pixel data have no end")


def encode_header(tag: int, vr: str, length: int, encoding: Encoding) -> bytes:
    """Return the header of an element."""
    order, group, number = encoding.order, tag >> 16, tag & 0xFFFF
    if not encoding.explicit:
        return struct.pack(f"{order}HHL", group, number, length)
    if vr in _LONG:
        return struct.pack(f"{order}HH2sHL", group, number, vr.encode(), 0, length)
    if length > 0xFFFF:
        unreadable("a value is too long for its VR")
    return struct.pack(f"{order}HH2sH", group, number, vr.encode(), length)


def encode_text(tag: int, vr: str, value: str, encoding: Encoding) -> bytes:
    """Return an element with an ASCII value, padded to even length (PS3.5 6.2)."""
    body = value.encode("ascii")
    if len(body) & 1:
        body += b"\x00" if vr in ("UI", "UN") else b" "
    return encode_header(tag, vr, len(body), encoding) + body


def encode_sequence(tag: int, vr: str, items: list[bytes], encoding: Encoding, inner: Encoding) -> bytes:
    """Return a sequence of defined length; `inner` is the encoding of the items."""
    marker = struct.Struct(f"{inner.order}HHL")
    body = b"".join(marker.pack(0xFFFE, 0xE000, len(item)) + item for item in items)
    return encode_header(tag, vr, len(body), encoding) + body
