"""The metrics again, in float64 numpy, written for reading: what the kernels are compared with.

Sums and counts must agree exactly, because both are made of integers. Where a tolerance is used it says why:

* quantiles, means, entropies: 1e-9 relative, the difference of two orders of summation in float64;
* average edge strength: half a histogram bin, 1/4096 of the reference intensity, because the kernel bins magnitudes.
"""

from __future__ import annotations

import numpy as np

RUN = 4


def hull(bright: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Orthogonal hull by its definition; also first and last index of runs per row and per column."""
    rows, columns = bright.shape

    def limits(line: np.ndarray) -> tuple[int, int] | None:
        hits = [i for i in range(len(line) - RUN + 1) if line[i : i + RUN].all()]
        return (hits[0], hits[-1] + RUN - 1) if hits else None

    by_row = [limits(bright[y]) for y in range(rows)]
    by_column = [limits(bright[:, x]) for x in range(columns)]
    mask = np.zeros(bright.shape, bool)
    for y in range(rows):
        for x in range(columns):
            r, c = by_row[y], by_column[x]
            mask[y, x] = r is not None and c is not None and r[0] <= x <= r[1] and c[0] <= y <= c[1]
    return mask, np.array([r or (columns, -1) for r in by_row]), np.array([c or (rows, -1) for c in by_column])


def erode(limits_rows: np.ndarray, limits_columns: np.ndarray, by: int) -> np.ndarray:
    """Core: the hull with all limits moved inwards."""
    rows, columns = len(limits_rows), len(limits_columns)
    y, x = np.mgrid[0:rows, 0:columns]
    r, c = limits_rows, limits_columns
    inside = (x >= r[y, 0] + by) & (x <= r[y, 1] - by) & (y >= c[x, 0] + by) & (y <= c[x, 1] - by)
    return inside & (r[y, 1] >= 0) & (c[x, 1] >= 0)


def quantile(values: np.ndarray, fraction: float) -> float:
    """Quantile of rounded values, each spread evenly over ±0.5."""
    levels, counts = np.unique(values, return_counts=True)
    below = np.concatenate([[0], np.cumsum(counts)])
    wanted = fraction * below[-1]
    i = int(np.argmax(below[1:] >= wanted))
    return float(levels[i] - 0.5 + (wanted - below[i]) / counts[i])


def otsu(values: np.ndarray) -> float:
    """Threshold that maximises the variance between classes; for fewer than 257 levels."""
    levels = np.arange(values.max() + 1)
    best, where = -1.0, 0.0
    for threshold in levels[1:]:
        low, high = values[values < threshold], values[values >= threshold]
        if not low.size or not high.size:
            continue
        between = low.size * high.size * (low.mean() - high.mean()) ** 2
        if between > best * (1 + 1e-12):
            best, where = between, float(threshold)
    return where


def central_gradients(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``x[i+1] - x[i-1]`` along both axes, zero at the border."""
    rows, columns = np.zeros(image.shape), np.zeros(image.shape)
    rows[1:-1] = image[2:] - image[:-2]
    columns[:, 1:-1] = image[:, 2:] - image[:, :-2]
    return rows, columns


def edge_strength(image: np.ndarray, core: np.ndarray, reference: float) -> float:
    """Mean of the largest fifth of gradient magnitudes, with a fractional last pixel."""
    rows, columns = central_gradients(image)
    magnitudes = np.sort((np.hypot(rows, columns) / 2 / reference)[core])[::-1]
    wanted = 0.2 * magnitudes.size
    whole = int(wanted)
    rest = (wanted - whole) * magnitudes[whole] if whole < magnitudes.size else 0.0
    return float((magnitudes[:whole].sum() + rest) / wanted)


def gradient_entropy(gradients: np.ndarray) -> float:
    """Entropy of |g| relative to its maximum."""
    weights = np.abs(gradients) / np.abs(gradients).sum()
    weights = weights[weights > 0]
    return float(-(weights * np.log(weights)).sum() / np.log(gradients.size))


def immerkaer(image: np.ndarray, core: np.ndarray) -> float:
    """Immerkaer's noise estimate over the core."""
    padded = image.astype(float)
    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], float)
    response = np.zeros(image.shape)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            response += mask[dy + 1, dx + 1] * np.roll(padded, (-dy, -dx), (0, 1))
    return float(np.sqrt(np.pi / 2) * np.abs(response[core]).mean() / 6)


def focus_entropy(image: np.ndarray) -> float:
    """Entropy focus criterion relative to its maximum."""
    values = image.astype(float).ravel()
    norm = np.sqrt((values**2).sum())
    ratio = values[values > 0] / norm
    most = np.sqrt(values.size) * np.log(np.sqrt(values.size))
    return float(-(ratio * np.log(ratio)).sum() / most)


def head_phantom(rng: np.random.Generator, side: int = 96, noise: float = 6.0, signal: float = 400.0) -> np.ndarray:
    """Magnitude image of an ellipse with two tissues and Rician noise, analytic except for the noise."""
    y, x = np.mgrid[0:side, 0:side] - (side - 1) / 2
    outer = (x / (0.30 * side)) ** 2 + (y / (0.36 * side)) ** 2 <= 1
    inner = (x / (0.18 * side)) ** 2 + (y / (0.22 * side)) ** 2 <= 1
    clean = signal * (0.7 * outer + 0.3 * inner)
    real, imaginary = rng.normal(clean, noise), rng.normal(0, noise, clean.shape)
    return np.round(np.hypot(real, imaginary)).astype(np.uint16)
