"""Histograms of levels and what follows from them: thresholds, quantiles, exact sums.

Job: a histogram is a sufficient statistic of integer pixels, so everything here is exact and additive. Place: used by
`agent.qc_kernels.slices`. It must never index outside its buffers: levels are unsigned 16-bit numbers and every buffer
holds all 65 536.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agent.qc_kernels.compiler import int64, kernel

OTSU_BINS = 256


@kernel
def count_levels(levels: NDArray[np.uint16], counts: NDArray[np.uint32], size: int) -> None:
    """Count the levels of a slice into ``counts[:size]`` (four interleaved tables avoid waiting for a store).

    Parameters
    ----------
    levels : (rows, cols) uint16
        All below `size`.
    counts : (4, 65536) uint32
        Scratch; the result is in its first row.
    size : int
        Number of levels in use.
    """
    counts[:, :size] = 0
    flat = levels.reshape(-1)
    quarter = flat.size // 4
    for i in range(quarter):
        counts[0, flat[4 * i]] += 1
        counts[1, flat[4 * i + 1]] += 1
        counts[2, flat[4 * i + 2]] += 1
        counts[3, flat[4 * i + 3]] += 1
    for i in range(4 * quarter, flat.size):
        counts[0, flat[i]] += 1
    for level in range(size):
        counts[0, level] += counts[1, level] + counts[2, level] + counts[3, level]


@kernel
def count_unpadded(
    levels: NDArray[np.uint16], padding: NDArray[np.uint8], counts: NDArray[np.uint32], size: int
) -> None:
    """Count the levels of pixels that are no padding."""
    counts[0, :size] = 0
    for y in range(levels.shape[0]):
        for x in range(levels.shape[1]):
            counts[0, levels[y, x]] += padding[y, x] == 0


@kernel
def count_regions(levels: NDArray[np.uint16], labels: NDArray[np.uint8], counts: NDArray[np.uint32], size: int) -> None:
    """Count the levels of each label into ``counts[label, :size]``.

    Parameters
    ----------
    levels : (rows, cols) uint16
        Levels.
    labels : (rows, cols) uint8
        Labels of `agent.qc_kernels.masks`.
    counts : (labels, 65536) uint32
        Receives the histograms.
    size : int
        Number of levels in use.
    """
    counts[:, :size] = 0
    for y in range(levels.shape[0]):
        for x in range(levels.shape[1]):
            counts[labels[y, x], levels[y, x]] += 1


@kernel
def sum_counts(counts: NDArray[np.uint32], size: int) -> tuple[int, int, int]:
    """Count, sum and sum of squares of the levels of a histogram, as exact integers."""
    number = int64(0)
    total = int64(0)
    squares = int64(0)
    for level in range(size):
        count = int64(counts[level])
        number += count
        total += count * level
        squares += count * level * level
    return number, total, squares


@kernel
def keep_range(counts: NDArray[np.uint32], size: int, low: int, high: int, kept: NDArray[np.uint32]) -> None:
    """Copy the levels ``[low, high)`` of a histogram into `kept`, which is zero elsewhere.

    A loop: assigning one slice to another makes numba compile the text of its error message, in every caller again.
    """
    for level in range(size):
        kept[level] = counts[level] if low <= level < high else 0


@kernel
def find_quantile(counts: NDArray[np.uint32], size: int, fraction: float) -> float:
    """Quantile of a histogram of rounded values, spread evenly within ``level ± 0.5``.

    Returns
    -------
    float
        Level; NaN for an empty histogram.
    """
    number = 0
    for level in range(size):
        number += int64(counts[level])
    if number == 0:
        return np.nan
    wanted = fraction * number
    below = int64(0)
    for level in range(size):
        count = int64(counts[level])
        if count > 0 and below + count >= wanted:
            return level - 0.5 + (wanted - below) / count
        below += count
    return size - 0.5


@kernel
def find_otsu(counts: NDArray[np.uint32], size: int, skip: int) -> tuple[float, float]:
    """Find Otsu's threshold (1979, eq. 18) on at most 256 bins.

    Parameters
    ----------
    counts : (65536,) uint32
        Histogram.
    size : int
        Levels in use.
    skip : int
        A level that is left out (exact zeros of masked air), or -1.

    Returns
    -------
    tuple of 2 float
        Threshold as a level, and between-class variance relative to the total variance, 0-1. Both are 0 when there
        are fewer than two occupied bins.
    """
    step = (size + OTSU_BINS - 1) // OTSU_BINS
    bins = np.zeros(OTSU_BINS)
    for level in range(size):
        if level != skip:
            bins[level // step] += counts[level]
    number = 0.0
    first = 0.0
    second = 0.0
    for i in range(OTSU_BINS):
        number += bins[i]
        first += bins[i] * i
        second += bins[i] * i * i
    weight = 0.0
    moment = 0.0
    best = 0.0
    where = 0
    for i in range(OTSU_BINS - 1):
        weight += bins[i]
        moment += bins[i] * i
        if weight <= 0 or weight >= number:
            continue
        between = (first * weight / number - moment) ** 2 / (weight * (number - weight))
        if between > best:
            best = between
            where = i
    spread = second / number - (first / number) ** 2 if number > 0 else 0.0
    if spread <= 0:
        return 0.0, 0.0
    return float((where + 1) * step), best / spread


@kernel
def split_three(counts: NDArray[np.uint32], low: int, high: int) -> tuple[int, int]:
    """Find the two thresholds of a three-class Otsu split on at most 64 bins between two levels.

    Parameters
    ----------
    counts : (65536,) uint32
        Histogram of the core of the foreground.
    low, high : int
        First level and level after the last that take part (outliers left out).

    Returns
    -------
    tuple of 2 int
        Levels at which the second and the third class begin; both 0 when the range is too narrow.
    """
    bins = 64
    step = max(1, (high - low + bins - 1) // bins)
    used = (high - low + step - 1) // step
    if used < 3:
        return 0, 0
    weight = np.zeros(used + 1)
    moment = np.zeros(used + 1)
    for i in range(used):
        w = 0.0
        for level in range(low + i * step, min(high, low + (i + 1) * step)):
            w += counts[level]
        weight[i + 1] = weight[i] + w
        moment[i + 1] = moment[i] + w * i
    best = -1.0
    first, second = 0, 0
    for i in range(1, used - 1):
        for j in range(i + 1, used):
            w1, w2, w3 = weight[i], weight[j] - weight[i], weight[used] - weight[j]
            if w1 <= 0 or w2 <= 0 or w3 <= 0:
                continue
            m2 = moment[j] - moment[i]
            m3 = moment[used] - moment[j]
            between = moment[i] ** 2 / w1 + m2**2 / w2 + m3**2 / w3
            if between > best:
                best = between
                first, second = i, j
    if best < 0:
        return 0, 0
    return low + first * step, low + second * step


@kernel
def sum_entropy(
    counts: NDArray[np.uint32], size: int, scale: tuple[int, int], logarithms: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Sum x, x² and x·ln x over a histogram, for the entropy focus criterion (Atkinson 1997, eq. 1).

    Parameters
    ----------
    counts : (65536,) uint32
        Histogram.
    size : int
        Levels in use.
    scale : tuple of 2 int
        Offset and shift of the levels; negative stored values count as zero.
    logarithms : (65536,) float64
        ``ln i``.
    """
    offset, shift = scale
    first = 0.0
    second = 0.0
    logs = 0.0
    for level in range(size):
        count = counts[level]
        value = (level << shift) + offset
        if count > 0 and value > 0:
            x = float(value)
            first += count * x
            second += count * x * x
            logs += count * x * (logarithms[value] if value < logarithms.size else np.log(x))
    return first, second, logs
