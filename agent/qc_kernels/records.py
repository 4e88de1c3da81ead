"""What passes between the kernels of one slice: settings in, scratch memory, sums out.

Job: named tuples, which machine code can take and return. Place: used by `agent.qc_kernels.slices` and its callers. It
must never hold anything that belongs to more than one slice.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.qc_kernels.ghosts import AirSums, StructureSums
from agent.qc_kernels.gradients import EDGE_BINS, GradientSums
from agent.qc_kernels.hounsfield import NOISE_BINS
from agent.qc_kernels.levels import LEVELS
from agent.qc_kernels.shape import MassSums


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
    pixel_low, pixel_high : float
        What a single pixel of soft tissue may be.
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
    pixel_low: float
    pixel_high: float
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
