"""Pixels of one slice into the scratch memory.

Job: choose the fast or the careful way of turning stored pixels into levels. Place: called by `agent.qc.numbers.slices`
before `agent.qc_kernels.slices`. It must never take padding or junk bits for signal.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.qc_kernels.levels import (
    Coding,
    fill_levels,
    fill_plain,
    find_plain_range,
    find_range,
    pad_outside_circle,
)
from agent.qc_kernels.records import Buffers

# three types are compiled instead of six; the others fit into one of them
_COMPILED = {"u1": "u2", "i1": "i2", "u2": "u2", "i2": "i2", "u4": "i8", "i4": "i8", "i8": "i8"}


class LoadedSlice(NamedTuple):
    """What loading a slice into the buffers found (stored values)."""

    minimum: int
    maximum: int
    valid: int
    padded: int
    junk: int
    shift: int


def load_slice(pixels: NDArray[np.integer], coding: Coding, is_disc: bool, buffers: Buffers) -> LoadedSlice:
    """Turn stored pixels into levels in ``buffers.levels`` and ``buffers.padding``.

    Parameters
    ----------
    pixels : (rows, cols) int8, uint8, int16, uint16, int32 or uint32
        Stored pixels, C-contiguous, native byte order, writable.
    coding : Coding
        How to read them.
    is_disc : bool
        Constant corners outside the inscribed circle are padding (CT).
    buffers : Buffers
        Scratch memory of the same size.
    """
    pixels = pixels.astype(_COMPILED[pixels.dtype.str[1:]], copy=False)
    minimum, maximum = find_plain_range(pixels)
    valid, junk = pixels.size, 0
    plain = _is_plain(minimum, maximum, coding)
    if not plain:
        minimum, maximum, valid, junk = find_range(pixels, coding)
        if not valid:
            return LoadedSlice(0, 0, 0, pixels.size, junk, 0)
    shift = max(0, int(maximum - minimum).bit_length() - 16)
    padded = pixels.size - valid
    if plain:
        fill_plain(pixels, minimum, shift, buffers.levels)
        buffers.padding[:] = 0
    else:
        fill_levels(pixels, coding, (minimum, shift), buffers.levels, buffers.padding)
    if is_disc:
        padded += pad_outside_circle(buffers.levels, buffers.padding)
    return LoadedSlice(int(minimum), int(maximum), pixels.size - padded, padded, int(junk), shift)


def _is_plain(minimum: int, maximum: int, coding: Coding) -> bool:
    """Every pixel counts as it is: no junk bits, no padding in the range."""
    lowest, highest = -coding.sign, coding.mask - coding.sign
    if coding.mask and (coding.low_bit or minimum < lowest or maximum > highest):
        return False
    padded = coding.padding_low <= maximum and coding.padding_high >= minimum
    return not (padded and coding.padding_low <= coding.padding_high) and coding.floor <= minimum
