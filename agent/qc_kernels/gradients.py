"""Edges and noise of the core of the foreground.

Job: one sweep over the core that yields the sums of every gradient metric. Place: used by `agent.qc_kernels.slices`. It
must never leave integers before a sum is complete: levels are whole numbers, so every sum here is exact and additive.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.qc_kernels.compiler import int32, int64, kernel
from agent.qc_kernels.masks import CORE

EDGE_BINS = 4096
EDGE_RESOLUTION = 2048


class GradientSums(NamedTuple):
    """Sums over the pixels of the core that have all eight neighbours.

    Attributes
    ----------
    pixels : int
        Pixels.
    laplacian : int
        Sum of |mask| with Immerkaer's mask (1996, eq. 3).
    rows_squared, columns_squared : int
        Sums of squared forward differences along axis 0 and axis 1.
    total, squares : int
        Sums of the levels and of their squares.
    """

    pixels: int
    laplacian: int
    rows_squared: int
    columns_squared: int
    total: int
    squares: int


@kernel
def measure_gradients(
    levels: NDArray[np.uint16],
    labels: NDArray[np.uint8],
    phase_axis: int,
    edge_scale: float,
    differences: NDArray[np.uint32],
    edges: NDArray[np.uint32],
) -> GradientSums:
    """Sum the stencils over the core and fill two histograms.

    Parameters
    ----------
    levels, labels : (rows, cols) uint16, uint8
        Levels and labels.
    phase_axis : int
        0 or 1: axis along which `differences` are taken.
    edge_scale : float
        Bins per level of gradient magnitude.
    differences : (65536,) uint32
        Receives the histogram of ``|x[i+1] - x[i-1]|`` along the phase axis (exact integers). Must come zeroed.
    edges : (EDGE_BINS,) uint32
        Receives the histogram of the central gradient magnitude. Must come zeroed.
    """
    rows, columns = levels.shape
    last = int32(edges.size - 1)
    bins = np.empty(columns, np.int32)
    steps = np.empty(columns, np.int32)
    number, lap, along, across, total, squares = 0, 0, 0, 0, 0, 0
    for y in range(1, rows - 1):
        first, end = 1, columns - 1
        while first < end and labels[y, first] != CORE:
            first += 1
        while end > first and labels[y, end - 1] != CORE:
            end -= 1
        if first == end:
            continue
        # rows, not a window of two dimensions: only one-dimensional slices are known to be contiguous
        above, here = levels[y - 1][first - 1 : end + 1], levels[y][first - 1 : end + 1]
        below = levels[y + 1][first - 1 : end + 1]
        n, p, q, r, s, t = _sum_row(above, here, below, labels[y][first:end])
        number += n
        lap += p
        along += q
        across += r
        total += s
        squares += t
        _bin_row(above, here, below, np.float32(0.5 * edge_scale), bins)
        if phase_axis == 0:
            _step_row(above[1:], below[1:], steps[: end - first])
        else:
            _step_row(here, here[2:], steps[: end - first])
        for x in range(end - first):
            if labels[y, first + x] == CORE:
                differences[steps[x]] += 1
                edges[min(bins[x], last)] += 1
    return GradientSums(number, lap, along, across, total, squares)


@kernel
def _sum_row(
    above: NDArray[np.uint16], here: NDArray[np.uint16], below: NDArray[np.uint16], labels: NDArray[np.uint8]
) -> tuple[int, int, int, int, int, int]:
    """Sum one row without a branch; rows begin one pixel to the left of the labels.

    Views that all begin at index 0 let the compiler leave out the test for negative indices, and vectorise.
    """
    a0, a1, a2 = above, above[1:], above[2:]
    c0, c1, c2 = here, here[1:], here[2:]
    b0, b1, b2 = below, below[1:], below[2:]
    number, lap, along, across, total, squares = 0, 0, 0, 0, 0, 0
    for x in range(labels.size):
        core = int32(labels[x] == CORE)
        c = int32(c1[x])
        cross = int32(a1[x]) + int32(b1[x]) + int32(c0[x]) + int32(c2[x])
        corners = int32(a0[x]) + int32(a2[x]) + int32(b0[x]) + int32(b2[x])
        down, right = int32(b1[x]) - c, int32(c2[x]) - c
        number += core
        lap += core * abs(corners - 2 * cross + 4 * c)
        along += int64(core * down) * int64(down)
        across += int64(core * right) * int64(right)
        total += core * c
        squares += int64(core * c) * int64(c)
    return number, lap, along, across, total, squares


@kernel
def _bin_row(
    above: NDArray[np.uint16],
    here: NDArray[np.uint16],
    below: NDArray[np.uint16],
    half: np.float32,
    bins: NDArray[np.int32],
) -> None:
    """Write the bin of the gradient magnitude of each pixel of a row."""
    a1, b1, c0, c2 = above[1:], below[1:], here, here[2:]
    for x in range(c2.size):
        dr = np.float32(int32(b1[x]) - int32(a1[x]))
        dc = np.float32(int32(c2[x]) - int32(c0[x]))
        bins[x] = int32(np.sqrt(dr * dr + dc * dc) * half)


@kernel
def _step_row(before: NDArray[np.uint16], after: NDArray[np.uint16], steps: NDArray[np.int32]) -> None:
    """Write the absolute difference of two rows of neighbours."""
    for x in range(steps.size):
        steps[x] = abs(int32(after[x]) - int32(before[x]))


@kernel
def mean_of_top(edges: NDArray[np.uint32], fraction: float) -> float:
    """Mean bin (centre) of the top fraction of a histogram; NaN when it is empty.

    The last bin that is needed enters with the part that is missing, so the result does not jump with one pixel.
    """
    number = int64(0)
    for i in range(edges.size):
        number += edges[i]
    wanted = fraction * number
    if wanted <= 0:
        return np.nan
    left = wanted
    total = 0.0
    for i in range(edges.size - 1, -1, -1):
        take = min(left, float(edges[i]))
        total += take * (i + 0.5)
        left -= take
        if left <= 0:
            break
    return total / wanted


@kernel
def sum_differences(
    differences: NDArray[np.uint32], size: int, logarithms: NDArray[np.float64]
) -> tuple[int, int, float]:
    """Sum a histogram of |g| for the gradient entropy (McGee 2000).

    Returns
    -------
    tuple
        Number of pixels, exact sum of |g|, and sum of |g| ln |g| in ascending order.
    """
    number = int64(0)
    total = int64(0)
    logs = 0.0
    for i in range(size):
        count = int64(differences[i])
        number += count
        if count > 0 and i > 0:
            total += count * i
            logs += count * i * logarithms[i]
    return number, total, logs
