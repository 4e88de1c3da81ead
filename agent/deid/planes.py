"""How long native pixel data have to be.

Job: work out from Rows, Columns and their kin how many bytes an image needs, and which entries of offset tables can be
offsets. Place: called by ``suitability`` and ``engine``. It must never call a length right that it cannot work out.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.deid.engine import Source

PIXEL_DATA, _FLOAT, _DOUBLE = 0x7FE00010, 0x7FE00008, 0x7FE00009
_ROWS, _COLUMNS, _SAMPLES, _ALLOCATED, _FRAMES = 0x00280010, 0x00280011, 0x00280002, 0x00280100, 0x00280008


def bytes_needed(source: Source, tag: int) -> int:
    """Return how many bytes the native pixels of all frames fill (PS3.5 8.1.1, 8.2); 0 when the header does not say."""
    rows, columns, frames = source.number(_ROWS), source.number(_COLUMNS), number_of_frames(source)
    bits = {_FLOAT: 32, _DOUBLE: 64}.get(tag) or source.number(_ALLOCATED)
    if bits != 1 and bits % 8:
        return 0
    return (rows * columns * frames * source.number(_SAMPLES, 1) * bits + 7) // 8


def number_of_frames(source: Source) -> int:
    """Return Number of Frames; 1 when it is absent, 0 when it is no number."""
    text = source.text(_FRAMES)
    if not text:
        return 1
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else 0


def why_wrong_length(source: Source) -> str | None:
    """Return why native pixel data cannot be cut to what the image needs; None when they can or there are none."""
    for tag in (PIXEL_DATA, _FLOAT, _DOUBLE):
        element = source.by_tag.get(tag)
        if element is None or element.encapsulated or element.items is not None:
            continue
        needed, there = bytes_needed(source, tag), element.stop - element.start
        if there and not needed:
            return "Its header does not say how long its pixel data are; what stands behind them cannot be cut off."
        if there < needed:
            return "Its pixel data are shorter than its header says."
    return None


def are_offsets(value: bytes, code: str, frames: int, end: int, order: str) -> bool:
    """Whether an extended offset table or its lengths can be such: one number a frame, within the pixel data."""
    if len(value) != 8 * frames:
        return False
    numbers = struct.unpack(f"{order}{frames}{code}", value)
    return all(0 <= number <= end for number in numbers)
