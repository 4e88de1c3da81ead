"""Values of data elements, read so that no damaged element stops the measuring.

Job: turn what a data set holds into float, int and str, or into None when it is absent, empty or unusable. Place: used
by every module of `agent.qc.reading`. It must never raise for what a file contains: a broken element counts as absent.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterable, Iterator

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

_BROKEN = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    IndexError,
    OverflowError,
    NotImplementedError,
    struct.error,
)
_BINARY = {"FD": ("d", 8), "FL": ("f", 4), "US": ("H", 2), "SS": ("h", 2), "UL": ("I", 4), "SL": ("i", 4)}
MAX_VALUES = 64
MAX_TEXT = 128
PRIVATE_BLOCK_FIRST, PRIVATE_BLOCK_LAST = 0x10, 0xFF


def read_value(ds: Dataset, keyword: str) -> object:
    """Value of an element by keyword; None when absent, empty or unreadable."""
    try:
        value: object = ds.get(keyword)
    except _BROKEN:
        return None
    return value


def as_list(value: object) -> list[object]:
    """A value of any multiplicity as a list."""
    if value is None:
        return []
    if isinstance(value, MultiValue | list | tuple):
        return list(value)[:MAX_VALUES]
    return [value]


def as_float(value: object) -> float | None:
    """A finite float, or None; a decimal comma is accepted."""
    try:
        number = float(value.replace(",", ".")) if isinstance(value, str) else float(value)  # type: ignore[arg-type]
    except _BROKEN:
        return None
    return number if math.isfinite(number) else None


def floats_of(ds: Dataset, keyword: str) -> tuple[float, ...]:
    """All values as floats; empty when one of them is unusable."""
    numbers = [as_float(item) for item in as_list(read_value(ds, keyword))]
    return tuple(number for number in numbers if number is not None) if None not in numbers else ()


def float_of(ds: Dataset, keyword: str) -> float | None:
    """First value as a float."""
    items = as_list(read_value(ds, keyword))
    return as_float(items[0]) if items else None


def int_of(ds: Dataset, keyword: str) -> int | None:
    """First value as an integer."""
    number = float_of(ds, keyword)
    return int(number) if number is not None else None


def text_of(ds: Dataset, keyword: str) -> str:
    """First value as stripped text; empty when absent."""
    items = as_list(read_value(ds, keyword))
    return clean(items[0]) if items else ""


def codes_of(ds: Dataset, keyword: str) -> tuple[str, ...]:
    """All values as upper-case text."""
    return tuple(clean(item).upper() for item in as_list(read_value(ds, keyword)) if clean(item))


def clean(value: object) -> str:
    """Text without padding, of bounded length; bytes are read as Latin-1."""
    if value is None:
        return ""
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    return text.strip(" \0\t\r\n")[:MAX_TEXT]


def items_of(ds: Dataset, keyword: str) -> Iterator[Dataset]:
    """Items of a sequence; none when it is absent or no sequence."""
    value = read_value(ds, keyword)
    if isinstance(value, Sequence):
        yield from value


def first_item(ds: Dataset, keyword: str) -> Dataset | None:
    """First item of a sequence."""
    return next(items_of(ds, keyword), None)


def digest(*parts: object) -> str:
    """First 16 hexadecimal digits of the SHA-256 of text; empty when all of it is."""
    text = "\x1f".join(clean(part) for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:16] if text.strip("\x1f") else ""


def find_private(ds: Dataset, group: int, creator: str, offset: int) -> object:
    """Value of a private element, found by its creator (PS3.5 7.8.1); None when absent.

    Parameters
    ----------
    ds : Dataset
        Where to look.
    group : int
        Odd group number.
    creator : str
        Private creator; blanks and case do not matter.
    offset : int
        Low byte of the element number.
    """
    wanted = creator.strip().upper()
    first, last = group << 16 | PRIVATE_BLOCK_FIRST, group << 16 | PRIVATE_BLOCK_LAST
    # plain integers: comparing pydicom's tags costs more than reading the rest of the header
    for tag in map(int, ds.keys()):
        if not first <= tag <= last:
            continue
        element = group << 16 | (tag & 0xFF) << 8 | offset
        try:
            if clean(ds[tag].value).upper() == wanted and element in ds:
                value: object = ds[element].value
                return value
        except _BROKEN:
            continue
    return None


def private_floats(ds: Dataset, group: int, creator: str, offset: int, vr: str) -> tuple[float, ...]:
    """Numbers of a private element; `vr` says how to read its bytes when the file calls it UN or OB."""
    value = find_private(ds, group, creator, offset)
    if isinstance(value, bytes):
        value = _unpack(value, vr)
    numbers = [as_float(item) for item in as_list(value)]
    return tuple(number for number in numbers if number is not None) if None not in numbers else ()


def _unpack(value: bytes, vr: str) -> Iterable[object] | None:
    if vr in _BINARY:
        code, size = _BINARY[vr]
        count = min(len(value) // size, MAX_VALUES)
        return list(struct.unpack(f"<{count}{code}", value[: count * size]))
    return list(clean(value).split("\\"))


def private_float(ds: Dataset, group: int, creator: str, offset: int, vr: str) -> float | None:
    """First number of a private element."""
    numbers = private_floats(ds, group, creator, offset, vr)
    return numbers[0] if numbers else None


def private_int(ds: Dataset, group: int, creator: str, offset: int, vr: str) -> int | None:
    """First number of a private element as an integer."""
    number = private_float(ds, group, creator, offset, vr)
    return int(number) if number is not None else None


def private_text(ds: Dataset, group: int, creator: str, offset: int) -> str:
    """First value of a private element as text."""
    items = as_list(find_private(ds, group, creator, offset))
    return clean(items[0]) if items else ""


def private_items(ds: Dataset, group: int, creator: str, offset: int) -> list[Dataset]:
    """Items of a private sequence."""
    value = find_private(ds, group, creator, offset)
    return list(value) if isinstance(value, Sequence) else []
