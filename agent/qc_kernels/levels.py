"""Stored pixels of any integer type to levels: unsigned 16-bit numbers counted from the smallest valid value.

Job: do once what differs between 8, 16 and 32 bit, signed and unsigned, junk bits and padding, so that every other
kernel has a single type. Place: first step of `agent.qc_kernels.slices`. It must never change a value that fits: with
a range of up to 65 536 values ``stored = (level << shift) + offset`` is exact with ``shift = 0``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.qc_kernels.compiler import int32, int64, kernel

LEVELS = 65_536


class Coding(NamedTuple):
    """How stored integers are to be read (PS3.3 C.7.6.3, PS3.5 8.1.1).

    Attributes
    ----------
    low_bit : int
        ``HighBit + 1 - BitsStored``.
    mask : int
        ``2 ** BitsStored - 1``, or 0 when every allocated bit is used and nothing has to be masked.
    sign : int
        The sign bit within `mask`, or 0 for unsigned pixels.
    padding_low, padding_high : int
        Inclusive range of stored values that are padding; empty when low > high.
    floor : int
        Stored values below it are padding too (CT: outside the reconstruction circle).
    """

    low_bit: int
    mask: int
    sign: int
    padding_low: int
    padding_high: int
    floor: int


class Range(NamedTuple):
    """Extremes of the valid pixels of a slice (stored values), and what was found on the way."""

    minimum: int
    maximum: int
    valid: int
    junk: int


@kernel
def _stored_value(raw: int, coding: Coding) -> int:
    value = (raw >> coding.low_bit) & coding.mask
    if value & coding.sign:
        value -= coding.mask + 1
    return value


@kernel
def find_range(pixels: NDArray[np.integer], coding: Coding) -> Range:
    """Find minimum and maximum of the valid pixels and count junk bits.

    Parameters
    ----------
    pixels : (rows, cols) int16, uint16 or int64
        Stored pixels, C-contiguous.
    coding : Coding
        How to read them.

    Returns
    -------
    Range
        ``minimum > maximum`` when no pixel is valid; `junk` counts pixels with bits set above HighBit that are no
        extension of the sign.
    """
    minimum, maximum, valid, junk = int64(1) << 40, -(int64(1) << 40), 0, 0
    for y in range(pixels.shape[0]):
        for x in range(pixels.shape[1]):
            raw = int64(pixels[y, x])
            value = raw
            if coding.mask:
                value = _stored_value(raw, coding)
                junk += (raw >> coding.low_bit) != value
            if value < coding.floor or (coding.padding_low <= value <= coding.padding_high):
                continue
            valid += 1
            minimum = min(minimum, value)
            maximum = max(maximum, value)
    return Range(minimum, maximum, valid, junk)


@kernel
def find_plain_range(pixels: NDArray[np.integer]) -> tuple[int, int]:
    """Find minimum and maximum where every pixel counts as it is (vectorised by the compiler)."""
    flat = pixels.reshape(-1)
    minimum = flat[0]
    maximum = flat[0]
    for i in range(flat.size):
        minimum = min(minimum, flat[i])
        maximum = max(maximum, flat[i])
    return int64(minimum), int64(maximum)


@kernel
def fill_plain(pixels: NDArray[np.integer], offset: int, shift: int, levels: NDArray[np.uint16]) -> None:
    """Write levels where every pixel counts as it is."""
    source = pixels.reshape(-1)
    target = levels.reshape(-1)
    if shift == 0:
        low = int32(offset & 0xFFFF)
        for i in range(source.size):
            target[i] = np.uint16(int32(source[i] & 0xFFFF) - low)
    else:
        for i in range(source.size):
            target[i] = np.uint16((int64(source[i]) - offset) >> shift)


@kernel
def fill_levels(
    pixels: NDArray[np.integer],
    coding: Coding,
    scale: tuple[int, int],
    levels: NDArray[np.uint16],
    padding: NDArray[np.uint8],
) -> None:
    """Write levels and mark padding.

    Parameters
    ----------
    pixels : (rows, cols) integer
        Stored pixels.
    coding : Coding
        How to read them.
    scale : tuple of 2 int
        Offset and shift: ``level = (stored - offset) >> shift``.
    levels : (rows, cols) uint16
        Receives the levels; 0 where a pixel is padding.
    padding : (rows, cols) uint8
        Receives 1 where a pixel is padding, 0 elsewhere.
    """
    offset, shift = scale
    for y in range(pixels.shape[0]):
        for x in range(pixels.shape[1]):
            value = int64(pixels[y, x])
            if coding.mask:
                value = _stored_value(value, coding)
            if value < coding.floor or (coding.padding_low <= value <= coding.padding_high):
                padding[y, x] = 1
                levels[y, x] = 0
            else:
                padding[y, x] = 0
                levels[y, x] = (value - offset) >> shift


@kernel
def pad_outside_circle(levels: NDArray[np.uint16], padding: NDArray[np.uint8]) -> int:
    """Mark what lies outside the inscribed circle as padding if it has one single value.

    CT reconstructions fill the corners with a constant that is not always declared as padding.

    Returns
    -------
    int
        Number of pixels newly marked.
    """
    rows, columns = levels.shape
    centre_y, centre_x = (rows - 1) / 2, (columns - 1) / 2
    limit = (min(rows, columns) / 2 + 0.5) ** 2
    constant = levels[0, 0]
    for y in range(rows):
        for x in range(columns):
            outside = (y - centre_y) ** 2 + (x - centre_x) ** 2 > limit
            if outside and padding[y, x] == 0 and levels[y, x] != constant:
                return 0
    marked = 0
    for y in range(rows):
        for x in range(columns):
            if (y - centre_y) ** 2 + (x - centre_x) ** 2 > limit and padding[y, x] == 0:
                padding[y, x] = 1
                marked += 1
    return marked
