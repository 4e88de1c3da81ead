"""One slice in, all its exact sums out.

Job: run every kernel on one slice while it is in the cache, in one call that releases the interpreter lock. Place:
called by `agent.qc.measure`; calls the kernels beside it. It must never decide whether a number is meaningful: it
delivers sums and quantiles, `agent.qc.numbers` knows their preconditions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.qc_kernels.compiler import int64, kernel
from agent.qc_kernels.ghosts import AirSums, StructureSums, count_border, sum_air, sum_structure
from agent.qc_kernels.gradients import (
    EDGE_BINS,
    EDGE_RESOLUTION,
    GradientSums,
    mean_of_top,
    measure_gradients,
    sum_differences,
)
from agent.qc_kernels.histograms import (
    count_levels,
    count_regions,
    count_unpadded,
    find_otsu,
    find_quantile,
    split_three,
    sum_counts,
    sum_entropy,
)
from agent.qc_kernels.hounsfield import NOISE_BINS, count_above, count_local_noise, find_mode, measure_truncation
from agent.qc_kernels.levels import (
    LEVELS,
    Coding,
    fill_levels,
    fill_plain,
    find_plain_range,
    find_range,
    pad_outside_circle,
)
from agent.qc_kernels.masks import (
    AIR,
    CORE,
    OTHER,
    PADDING,
    RIM,
    find_column_limits,
    find_row_limits,
    label_padding,
    label_slice,
    mark_bright,
    measure_border,
    widen_limits,
)
from agent.qc_kernels.shape import MassSums, average_blocks, sum_mass

BORDER_LINES = 3
TOP_FRACTION = 0.2


class Scaling(NamedTuple):
    """From levels to values: ``stored = (level << shift) + offset``.

    Attributes
    ----------
    size : int
        Levels in use.
    zero : int
        Level of stored zero, -1 when it does not occur in the range.
    origin : float
        Level at which the real value is zero.
    """

    offset: int
    shift: int
    size: int
    zero: int
    origin: float


class Plan(NamedTuple):
    """What to measure and how.

    Attributes
    ----------
    phase_axis : int
        0 or 1.
    threshold : int
        Level above which a pixel is foreground, or -1 for half of Otsu's threshold.
    erosion, guard, block_edge : int
        Pixels.
    """

    phase_axis: int
    threshold: int
    erosion: int
    guard: int
    block_edge: int


class HounsfieldPlan(NamedTuple):
    """Limits for CT, as levels.

    Attributes
    ----------
    window : int
        Odd side of the noise window in pixels.
    tissue_low, tissue_high : float
        Soft tissue.
    noise_scale : float
        Bins per level of standard deviation.
    metal : int
        First level that counts as metal.
    air_high : int
        First level that is no air.
    air_smooth : int
        Half width in levels of the window that finds the mode of air.
    """

    window: int
    tissue_low: float
    tissue_high: float
    noise_scale: float
    metal: int
    air_high: int
    air_smooth: int


class Buffers(NamedTuple):
    """Scratch memory for slices of one size."""

    levels: NDArray[np.uint16]
    padding: NDArray[np.uint8]
    bright: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    limits: NDArray[np.int32]
    wide: NDArray[np.int32]
    counts: NDArray[np.uint32]
    regions: NDArray[np.uint32]
    differences: NDArray[np.uint32]
    edges: NDArray[np.uint32]
    border: NDArray[np.uint32]
    noise: NDArray[np.uint32]
    blocks: NDArray[np.float64]
    logarithms: NDArray[np.float64]


class HistogramSums(NamedTuple):
    """Exact sums of levels by label, and quantiles (levels; NaN when empty)."""

    all: tuple[int, int, int]
    head: tuple[int, int, int]
    core: tuple[int, int, int]
    air: tuple[int, int, int]
    low_class: tuple[int, int, int]
    high_class: tuple[int, int, int]
    threshold: float
    separability: float
    core_p02: float
    core_median: float
    core_p98: float
    head_median: float
    air_median: float
    background_median: float
    entropy: tuple[float, float, float]
    zeros: int
    at_maximum: int


class EdgeSums(NamedTuple):
    """Gradient sums of the core, and what the border of the image holds."""

    gradients: GradientSums
    top_edge: float
    differences: tuple[int, int, float]
    border_p80: float
    foreground_border: tuple[int, int, int, int]


class SliceSums(NamedTuple):
    """All sums of one slice."""

    histogram: HistogramSums
    edge: EdgeSums
    air: AirSums
    structure: StructureSums
    mass: MassSums


class HounsfieldSums(NamedTuple):
    """All sums of one CT slice beyond `SliceSums` (levels, bins of `noise_scale`)."""

    air_mode: float
    air_pixels: int
    noise_windows: int
    noise_mode: float
    tissue_median: float
    metal: int
    border: int
    body_at_border: int


def make_buffers(rows: int, columns: int, block_edge: int) -> Buffers:
    """Allocate scratch memory for slices of one size."""
    length = max(rows, columns)
    logarithms = np.zeros(LEVELS)
    logarithms[1:] = np.log(np.arange(1, LEVELS))
    shape = (rows, columns)
    return Buffers(
        levels=np.zeros(shape, np.uint16),
        padding=np.zeros(shape, np.uint8),
        bright=np.zeros(shape, np.uint8),
        labels=np.zeros(shape, np.uint8),
        limits=np.zeros((4, length), np.int32),
        wide=np.zeros((4, length), np.int32),
        counts=np.zeros((4, LEVELS), np.uint32),
        regions=np.zeros((5, LEVELS), np.uint32),
        differences=np.zeros(LEVELS, np.uint32),
        edges=np.zeros(EDGE_BINS, np.uint32),
        border=np.zeros(LEVELS, np.uint32),
        noise=np.zeros(NOISE_BINS, np.uint32),
        blocks=np.zeros((-(-rows // block_edge), -(-columns // block_edge))),
        logarithms=logarithms,
    )


@kernel
def _count(buffers: Buffers, has_padding: bool, size: int) -> None:
    if has_padding:
        count_unpadded(buffers.levels, buffers.padding, buffers.counts, size)
    else:
        count_levels(buffers.levels, buffers.counts, size)


@kernel
def _label(buffers: Buffers, has_padding: bool, threshold: int, plan: Plan) -> None:
    rows, columns = buffers.levels.shape
    limits, wide = buffers.limits, buffers.wide
    mark_bright(buffers.levels, threshold, buffers.bright)
    find_row_limits(buffers.bright, limits)
    find_column_limits(buffers.bright, limits)
    widen_limits(limits, rows, plan.guard, 0, wide)
    widen_limits(limits, columns, plan.guard, 2, wide)
    label_slice(limits, wide, plan.erosion, buffers.labels)
    if has_padding:
        label_padding(buffers.padding, buffers.labels)


@kernel
def _sum_histograms(buffers: Buffers, scaling: Scaling, otsu: tuple[float, float]) -> HistogramSums:
    size, regions, total = scaling.size, buffers.regions, buffers.counts[0]
    count_regions(buffers.levels, buffers.labels, regions, size)
    zeros = total[scaling.zero] if 0 <= scaling.zero < size else np.uint32(0)
    head, background = buffers.counts[1], buffers.counts[2]
    for level in range(size):
        head[level] = regions[RIM, level] + regions[CORE, level]
        background[level] = regions[OTHER, level] + regions[AIR, level]
    core, air = regions[CORE], regions[AIR]
    if 0 <= scaling.zero < size:
        air[scaling.zero] = 0
    low, high = find_quantile(core, size, 0.02), find_quantile(core, size, 0.98)
    split = buffers.counts[3]
    first, second, last = 0, 0, 0
    if high > low:
        last = min(size, int(high) + 2)
        first, second = split_three(core, max(0, int(low)), last)
    split[:size] = 0
    if second > first:
        split[first:second] = core[first:second]
    low_class = sum_counts(split, size)
    split[:size] = 0
    if second > first:
        split[second:last] = core[second:last]
    high_class = sum_counts(split, size)
    return HistogramSums(
        sum_counts(total, size),
        sum_counts(head, size),
        sum_counts(core, size),
        sum_counts(air, size),
        low_class,
        high_class,
        otsu[0],
        otsu[1],
        low,
        find_quantile(core, size, 0.5),
        high,
        find_quantile(head, size, 0.5),
        find_quantile(air, size, 0.5),
        find_quantile(background, size, 0.5),
        sum_entropy(total, size, (scaling.offset, scaling.shift), buffers.logarithms),
        int64(zeros),
        int64(total[size - 1]),
    )


@kernel
def _sum_edges(buffers: Buffers, scaling: Scaling, plan: Plan, core_p98: float) -> EdgeSums:
    size = scaling.size
    reference = core_p98 - scaling.origin
    edge_scale = EDGE_RESOLUTION / reference if reference > 0 else 0.0
    buffers.differences[:size] = 0
    buffers.edges[:] = 0
    buffers.border[:size] = 0
    gradients = measure_gradients(
        buffers.levels, buffers.labels, plan.phase_axis, edge_scale, buffers.differences, buffers.edges
    )
    top = mean_of_top(buffers.edges, TOP_FRACTION) / EDGE_RESOLUTION if edge_scale > 0 else np.nan
    count_border(buffers.levels, buffers.labels, plan.phase_axis, BORDER_LINES, buffers.border)
    return EdgeSums(
        gradients,
        top,
        sum_differences(buffers.differences, size, buffers.logarithms),
        find_quantile(buffers.border, size, 0.8),
        measure_border(buffers.labels),
    )


@kernel
def sum_slice(buffers: Buffers, has_padding: bool, scaling: Scaling, plan: Plan) -> SliceSums:
    """Measure the slice whose levels and padding are in the buffers.

    Parameters
    ----------
    buffers : Buffers
        ``levels`` and ``padding`` are read, everything else is overwritten.
    has_padding : bool
        Any pixel is padding.
    scaling : Scaling
        How levels were made.
    plan : Plan
        Axis, threshold and margins.
    """
    _count(buffers, has_padding, scaling.size)
    otsu = find_otsu(buffers.counts[0], scaling.size, scaling.zero)
    threshold = plan.threshold if plan.threshold >= 0 else int(0.5 * otsu[0])
    _label(buffers, has_padding, threshold, plan)
    histogram = _sum_histograms(buffers, scaling, otsu)
    edge = _sum_edges(buffers, scaling, plan, histogram.core_p98)
    air = sum_air(buffers.levels, buffers.labels, buffers.limits, buffers.wide, plan.phase_axis, scaling.zero)
    structure = sum_structure(
        buffers.levels,
        buffers.labels,
        buffers.limits,
        plan.phase_axis,
        (scaling.zero, histogram.air_median),
    )
    mass = sum_mass(buffers.levels, buffers.labels, (scaling.offset, scaling.shift))
    average_blocks(buffers.levels, buffers.labels, plan.block_edge, buffers.blocks)
    return SliceSums(histogram, edge, air, structure, mass)


@kernel
def sum_hounsfield(buffers: Buffers, size: int, plan: HounsfieldPlan) -> HounsfieldSums:
    """Measure what only CT has; `sum_slice` must have run on the same buffers.

    Parameters
    ----------
    buffers : Buffers
        As `sum_slice` left them.
    size : int
        Levels in use.
    plan : HounsfieldPlan
        Limits as levels.
    """
    total, head = buffers.counts[0], buffers.counts[1]
    buffers.noise[:] = 0
    windows = count_local_noise(
        buffers.levels,
        buffers.labels,
        plan.window,
        (plan.tissue_low, plan.tissue_high),
        plan.noise_scale,
        buffers.noise,
    )
    tissue = buffers.counts[3]
    tissue[:size] = 0
    low, high = max(0, int(np.ceil(plan.tissue_low))), min(size, int(plan.tissue_high) + 1)
    if high > low:
        tissue[low:high] = head[low:high]
    border, body = measure_truncation(buffers.bright, buffers.labels)
    return HounsfieldSums(
        find_mode(total, 0, plan.air_high, plan.air_smooth),
        count_above(total, plan.air_high, 0),
        windows,
        find_mode(buffers.noise, 0, NOISE_BINS - 1, 5),
        find_quantile(tissue, size, 0.5),
        count_above(head, size, plan.metal),
        border,
        body,
    )


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


__all__ = [
    "AIR",
    "CORE",
    "OTHER",
    "PADDING",
    "RIM",
    "Coding",
    "load_slice",
    "make_buffers",
    "sum_hounsfield",
    "sum_slice",
]
