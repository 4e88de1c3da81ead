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
    count, lap, fr, fc, total, squares = 0, 0, 0, 0, 0, 0
    half = np.float32(0.5 * edge_scale)
    last = int32(edges.size - 1)
    for y in range(1, rows - 1):
        for x in range(1, columns - 1):
            if labels[y, x] != CORE:
                continue
            c = int32(levels[y, x])
            n, s = int32(levels[y - 1, x]), int32(levels[y + 1, x])
            w, e = int32(levels[y, x - 1]), int32(levels[y, x + 1])
            corners = (
                int32(levels[y - 1, x - 1])
                + int32(levels[y - 1, x + 1])
                + int32(levels[y + 1, x - 1])
                + int32(levels[y + 1, x + 1])
            )
            lap += abs(corners - 2 * (n + s + w + e) + 4 * c)
            dr, dc = s - n, e - w
            fr += int64(s - c) * int64(s - c)
            fc += int64(e - c) * int64(e - c)
            count += 1
            total += c
            squares += int64(c) * int64(c)
            differences[abs(dr) if phase_axis == 0 else abs(dc)] += 1
            magnitude = np.sqrt(np.float32(dr) * np.float32(dr) + np.float32(dc) * np.float32(dc)) * half
            edges[min(int32(magnitude), last)] += 1
    return GradientSums(count, lap, fr, fc, total, squares)


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
