"""Where the signal of a slice lies: centre of mass, second moments, block means.

Job: the small summaries that volumes are compared by (motion D8, neighbour correlation D5, b0 noise D6). Place: used by
`agent.qc_kernels.slices`. It must never depend on the order of evaluation: rows are summed as exact integers and added
in row order.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.qc_kernels.compiler import int64, kernel
from agent.qc_kernels.masks import CORE, PADDING, RIM


class MassSums(NamedTuple):
    """Sums of signal times powers of row and column over the foreground."""

    mass: float
    row: float
    column: float
    row_row: float
    row_column: float
    column_column: float


@kernel
def sum_mass(levels: NDArray[np.uint16], labels: NDArray[np.uint8], scale: tuple[int, int]) -> MassSums:
    """Sum signal and its moments over the foreground.

    Parameters
    ----------
    levels, labels : (rows, cols) uint16, uint8
        Levels and labels.
    scale : tuple of 2 int
        Offset and shift of the levels: signal is the stored value, negative ones count as zero.
    """
    rows, columns = levels.shape
    offset, shift = scale
    m, mr, mc, mrr, mrc, mcc = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for y in range(rows):
        s0 = int64(0)
        s1 = int64(0)
        s2 = int64(0)
        for x in range(columns):
            label = labels[y, x]
            if label in (CORE, RIM):
                value = max(int64(0), (int64(levels[y, x]) << shift) + offset)
                s0 += value
                s1 += value * x
                s2 += value * x * x
        if s0 > 0:
            m += s0
            mr += float(s0) * y
            mc += s1
            mrr += float(s0) * y * y
            mrc += float(s1) * y
            mcc += s2
    return MassSums(m, mr, mc, mrr, mrc, mcc)


@kernel
def average_blocks(
    levels: NDArray[np.uint16], labels: NDArray[np.uint8], has_padding: bool, edge: int, means: NDArray[np.float64]
) -> None:
    """Average square blocks (those at the far border may be smaller); padding is left out.

    Parameters
    ----------
    levels, labels : (rows, cols) uint16, uint8
        Levels and labels.
    has_padding : bool
        Any label is PADDING.
    edge : int
        Pixels along a side of a block.
    means : (ceil(rows/edge), ceil(cols/edge)) float64
        Receives the mean level of each block, -1 for blocks of padding alone.
    """
    rows, columns = levels.shape
    across = means.shape[1]
    totals = np.zeros(across, np.int64)
    numbers = np.zeros(across, np.int64)
    for y in range(rows):
        for i in range(across):
            total = int64(0)
            end = min(columns, (i + 1) * edge)
            for x in range(i * edge, end):
                total += levels[y, x]
            totals[i] += total
            numbers[i] += end - i * edge
            if has_padding:
                # the level of padding is 0, so only the number is wrong
                for x in range(i * edge, end):
                    numbers[i] -= labels[y, x] == PADDING
        if (y + 1) % edge == 0 or y == rows - 1:
            for i in range(across):
                means[y // edge, i] = totals[i] / numbers[i] if numbers[i] > 0 else -1.0
                totals[i] = 0
                numbers[i] = 0
