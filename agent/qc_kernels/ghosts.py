"""What the air says: ghosts along the phase-encoding direction, wrap at the border, structure of the noise.

Job: exact sums over air pixels, split by where they lie relative to the head. Place: used by
`agent.qc_kernels.slices`. It must never count exact zeros or padding as noise.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.qc_kernels.compiler import int64, kernel
from agent.qc_kernels.masks import AIR, CORE, PADDING, RIM


class AirSums(NamedTuple):
    """Sums of levels of air.

    Attributes
    ----------
    crossing_count, crossing_total : int
        Air in lines along the phase axis that cross the head.
    side_count, side_total : int
        Air in lines along the phase axis that stay clear of the head and its guard band.
    shifted_count, shifted_total : int
        Air inside the head shifted by half the field of view along the phase axis.
    unshifted_count, unshifted_total : int
        All other air.
    zeros : int
        Air that is exactly zero.
    """

    crossing_count: int
    crossing_total: int
    side_count: int
    side_total: int
    shifted_count: int
    shifted_total: int
    unshifted_count: int
    unshifted_total: int
    zeros: int


class StructureSums(NamedTuple):
    """Products of neighbours along the frequency axis, for the lag-1 autocorrelation of air.

    The first three describe air in lines that cross the head, the others the corners, where no ghost falls.
    """

    pairs: int
    product: float
    square: float
    corner_pairs: int
    corner_product: float
    corner_square: float


@kernel
def sum_air(
    levels: NDArray[np.uint16],
    labels: NDArray[np.uint8],
    limits: NDArray[np.int32],
    wide: NDArray[np.int32],
    phase_axis: int,
    zero: int,
) -> AirSums:
    """Sum the air by place.

    Parameters
    ----------
    levels, labels : (rows, cols) uint16, uint8
        Levels and labels.
    limits, wide : (4, n) int32
        Limits of the hull, without and with its guard band.
    phase_axis : int
        0: phase was encoded along a column (lines along the phase axis are columns); 1: along a row.
    zero : int
        Level of stored zero, or -1.
    """
    rows, columns = levels.shape
    first = 2 if phase_axis == 0 else 0
    lines = columns if phase_axis == 0 else rows
    half = (rows if phase_axis == 0 else columns) // 2
    place = np.zeros(lines, np.int8)
    for i in range(lines):
        if limits[first + 1, i] >= 0:
            place[i] = 1
        elif wide[first + 1, i] < 0:
            place[i] = 2
    cn, ct, sn, st, hn, ht, un, ut, zeros = 0, 0, 0, 0, 0, 0, 0, 0, 0
    for y in range(rows):
        for x in range(columns):
            if labels[y, x] != AIR:
                continue
            value = int64(levels[y, x])
            if value == zero:
                zeros += 1
                continue
            where = place[x] if phase_axis == 0 else place[y]
            if where == 1:
                cn += 1
                ct += value
            elif where == 2:
                sn += 1
                st += value
            if phase_axis == 0:
                opposite = labels[y + half if y + half < rows else y + half - rows, x]
            else:
                opposite = labels[y, x + half if x + half < columns else x + half - columns]
            if opposite in (CORE, RIM):
                hn += 1
                ht += value
            else:
                un += 1
                ut += value
    return AirSums(cn, ct, sn, st, hn, ht, un, ut, zeros)


@kernel
def sum_structure(
    levels: NDArray[np.uint16],
    labels: NDArray[np.uint8],
    limits: NDArray[np.int32],
    phase_axis: int,
    reference: tuple[int, float],
) -> StructureSums:
    """Correlate air with its next neighbour along the frequency axis.

    Parameters
    ----------
    levels, labels : (rows, cols) uint16, uint8
        Levels and labels.
    limits : (4, n) int32
        Limits of the hull.
    phase_axis : int
        Axis along which phase was encoded.
    reference : tuple of int and float
        Level of stored zero or -1, and the median level of the air.
    """
    rows, columns = levels.shape
    zero, median = reference
    dy, dx = (0, 1) if phase_axis == 0 else (1, 0)
    first = 2 if phase_axis == 0 else 0
    n, p, q, cn, cp, cq = 0, 0.0, 0.0, 0, 0.0, 0.0
    for y in range(rows - dy):
        for x in range(columns - dx):
            if labels[y, x] != AIR or labels[y + dy, x + dx] != AIR:
                continue
            if levels[y, x] == zero or levels[y + dy, x + dx] == zero:
                continue
            a = levels[y, x] - median
            b = levels[y + dy, x + dx] - median
            line = x if phase_axis == 0 else y
            if limits[first + 1, line] >= 0:
                n += 1
                p += a * b
                q += 0.5 * (a * a + b * b)
            elif limits[1, y] < 0 or limits[3, x] < 0:
                cn += 1
                cp += a * b
                cq += 0.5 * (a * a + b * b)
    return StructureSums(n, p, q, cn, cp, cq)


@kernel
def count_border(
    levels: NDArray[np.uint16],
    labels: NDArray[np.uint8],
    phase_axis: int,
    lines: int,
    counts: NDArray[np.uint32],
) -> int:
    """Count the levels of the outer lines at both ends of the phase axis.

    Parameters
    ----------
    levels, labels : (rows, cols) uint16, uint8
        Levels and labels; padding is left out.
    phase_axis : int
        Axis along which phase was encoded.
    lines : int
        Lines at each end.
    counts : (65536,) uint32
        Receives the histogram. Must come zeroed.

    Returns
    -------
    int
        Pixels counted.
    """
    rows, columns = levels.shape
    number = 0
    length = rows if phase_axis == 0 else columns
    across = columns if phase_axis == 0 else rows
    for i in range(2 * lines):
        line = i if i < lines else length - 1 - (i - lines)
        for j in range(across):
            y, x = (line, j) if phase_axis == 0 else (j, line)
            if labels[y, x] != PADDING:
                counts[levels[y, x]] += 1
                number += 1
    return number
