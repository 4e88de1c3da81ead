"""CT: noise of soft tissue, air, metal and truncation.

Job: sums and histograms on levels, with limits given as levels. Place: used by `agent.qc_kernels.slices`. It must never
take padding or the table's edge for tissue: only windows that hold nothing but foreground count.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agent.qc_kernels.compiler import int64, kernel
from agent.qc_kernels.masks import CORE, PADDING, RIM

NOISE_BINS = 1024


@kernel
def _is_outside(label: int, value: int, tissue: tuple[float, float, float, float]) -> int:
    inside = ((label == RIM) | (label == CORE)) & (value >= tissue[2]) & (value <= tissue[3])
    return 0 if inside else 1


@kernel
def count_local_noise(
    levels: NDArray[np.uint16],
    labels: NDArray[np.uint8],
    window: int,
    tissue: tuple[float, float, float, float],
    scale: float,
    counts: NDArray[np.uint32],
) -> int:
    """Fill a histogram of the local standard deviation of soft tissue (Christianson, AJR 2015).

    Parameters
    ----------
    levels, labels : (rows, cols) uint16, uint8
        Levels and labels.
    window : int
        Odd side of the square window in pixels.
    tissue : tuple of 4 float
        Inclusive range of the window's mean, then of each of its pixels, as levels: bone and air at a border would be
        read as noise.
    scale : float
        Bins per level of standard deviation.
    counts : (NOISE_BINS,) uint32
        Receives the histogram. Must come zeroed.

    Returns
    -------
    int
        Windows that counted.
    """
    rows, columns = levels.shape
    if rows < window or columns < window:
        return 0
    number = window * window
    first = np.zeros(columns, np.int64)
    second = np.zeros(columns, np.int64)
    outside = np.zeros(columns, np.int64)
    found = 0
    for y in range(rows):
        for x in range(columns):
            value = int64(levels[y, x])
            first[x] += value
            second[x] += value * value
            outside[x] += _is_outside(labels[y, x], value, tissue)
            if y >= window:
                old = int64(levels[y - window, x])
                first[x] -= old
                second[x] -= old * old
                outside[x] -= _is_outside(labels[y - window, x], old, tissue)
        if y < window - 1:
            continue
        s1, s2, out = int64(0), int64(0), int64(0)
        for x in range(columns):
            s1 += first[x]
            s2 += second[x]
            out += outside[x]
            if x >= window:
                s1 -= first[x - window]
                s2 -= second[x - window]
                out -= outside[x - window]
            if x < window - 1 or out > 0:
                continue
            mean = s1 / number
            if tissue[0] <= mean <= tissue[1]:
                variance = max(0.0, (s2 - s1 * mean) / (number - 1))
                counts[min(int(np.sqrt(variance) * scale), counts.size - 1)] += 1
                found += 1
    return found


@kernel
def find_mode(counts: NDArray[np.uint32], low: int, high: int, smooth: int) -> float:
    """Find the bin of ``[low, high)`` where the running sum over ``2·smooth + 1`` bins is largest.

    Returns
    -------
    float
        Centre of gravity of that window, as a bin; -1 when every bin is empty.
    """
    best, where = int64(0), -1
    for i in range(low, high):
        total = int64(0)
        for j in range(max(low, i - smooth), min(high, i + smooth + 1)):
            total += counts[j]
        if total > best:
            best, where = total, i
    if where < 0:
        return -1.0
    number, moment = int64(0), int64(0)
    for j in range(max(low, where - smooth), min(high, where + smooth + 1)):
        number += counts[j]
        moment += int64(counts[j]) * j
    return moment / number


@kernel
def count_above(counts: NDArray[np.uint32], size: int, level: int) -> int:
    """Count pixels at or above a level."""
    number = int64(0)
    for i in range(max(0, level), size):
        number += counts[i]
    return number


@kernel
def measure_truncation(bright: NDArray[np.uint8], labels: NDArray[np.uint8]) -> tuple[int, int]:
    """Count the pixels at the border of the reconstructed area, and those of them that are body.

    A pixel is at the border when it lies at the edge of the image or touches padding.

    Parameters
    ----------
    bright : (rows, cols) uint8
        1 where the pixel is denser than the body's threshold.
    labels : (rows, cols) uint8
        Labels; PADDING is outside the reconstructed area.
    """
    rows, columns = labels.shape
    border, body = 0, 0
    for y in range(rows):
        for x in range(columns):
            if labels[y, x] == PADDING:
                continue
            at_edge = y == 0 or x == 0 or y == rows - 1 or x == columns - 1
            if not at_edge:
                at_edge = (
                    labels[y - 1, x] == PADDING
                    or labels[y + 1, x] == PADDING
                    or labels[y, x - 1] == PADDING
                    or labels[y, x + 1] == PADDING
                )
            if at_edge:
                border += 1
                body += bright[y, x]
    return border, body
