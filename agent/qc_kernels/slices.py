"""One slice in, all its exact sums out.

Job: run every kernel on one slice while it is in the cache. Place: called by `agent.qc.numbers.slices`; calls the
kernels beside it. It must never decide whether a number is meaningful: it delivers sums and quantiles,
`agent.qc.numbers` knows their preconditions.

The steps are plain Python between kernels: a kernel that calls kernels makes the compiler optimise all of them once
more, which doubled the time of the first start and saved 0.01 ms a slice.
"""

from __future__ import annotations

import numpy as np

from agent.qc_kernels.compiler import int64, kernel
from agent.qc_kernels.ghosts import count_border, sum_air, sum_structure
from agent.qc_kernels.gradients import EDGE_RESOLUTION, mean_of_top, measure_gradients, sum_differences
from agent.qc_kernels.histograms import (
    count_levels,
    count_regions,
    count_unpadded,
    find_otsu,
    find_quantile,
    keep_range,
    split_three,
    sum_counts,
    sum_entropy,
)
from agent.qc_kernels.hounsfield import NOISE_BINS, count_above, count_local_noise, find_mode, measure_truncation
from agent.qc_kernels.masks import (
    AIR,
    CORE,
    OTHER,
    RIM,
    find_column_limits,
    find_row_limits,
    label_padding,
    label_slice,
    mark_bright,
    measure_border,
    widen_limits,
)
from agent.qc_kernels.records import (
    Buffers,
    EdgeSums,
    HistogramSums,
    HounsfieldPlan,
    HounsfieldSums,
    Plan,
    Scaling,
    SliceSums,
)
from agent.qc_kernels.shape import average_blocks, sum_mass

BORDER_LINES = 3
TOP_FRACTION = 0.2


def _count(buffers: Buffers, has_padding: bool, size: int) -> None:
    if has_padding:
        count_unpadded(buffers.levels, buffers.padding, buffers.counts, size)
    else:
        count_levels(buffers.levels, buffers.counts, size)


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
    keep_range(core, size, first, second, split)
    low_class = sum_counts(split, size)
    keep_range(core, size, second, last if second > first else second, split)
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
    average_blocks(buffers.levels, buffers.labels, has_padding, plan.block_edge, buffers.blocks)
    return SliceSums(histogram, edge, air, structure, mass)


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
        (plan.tissue_low, plan.tissue_high, plan.pixel_low, plan.pixel_high),
        plan.noise_scale,
        buffers.noise,
    )
    tissue = buffers.counts[3]
    # cut to the levels before they become integers: a strange slope may put the limits anywhere
    low, high = min(size, max(0.0, plan.tissue_low)), min(size, max(-1.0, plan.tissue_high))
    keep_range(head, size, int(np.ceil(low)), min(size, int(high) + 1), tissue)
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
