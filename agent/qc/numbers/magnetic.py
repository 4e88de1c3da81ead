"""From the exact sums of one slice to its numbers, each with its precondition.

Job: the formulas of the metrics. Place: called by `agent.qc.numbers.slices` with what `agent.qc_kernels.slices` summed.
It must never return NaN or infinity, and never a number whose precondition fails: that is a `NotComputable` with its
reason.

The formulas and their sources stand in ``docs/quality-metrics.md``; the identifiers (P1, P10 …) are the same here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from agent.qc.measurement import ClassSums, NotComputable, Number
from agent.qc_kernels.records import Scaling, SliceSums
from agent.qc_kernels.slices import BORDER_LINES

RAYLEIGH_MEDIAN = math.sqrt(2 * math.log(2))
DIETRICH = math.sqrt((4 - math.pi) / 2)
RAYLEIGH_MEAN_TO_SD = math.sqrt(math.pi / (4 - math.pi))
MAX_ZERO_AIR = 0.3
MIN_AIR = 200
MIN_CORE = 200
MIN_REGION = 100
MIN_CLASS_SHARE = 0.02
MIN_HEAD_SHARE = 0.005
MIN_CONTRAST = 2.0
NOISE_FILL = 0.95


@dataclass(frozen=True, slots=True)
class SliceNumbers:
    """Numbers of one MR magnitude slice.

    Parameters
    ----------
    sums : SliceSums
        What the kernels found (levels).
    scaling : Scaling
        Levels to stored values.
    slope, intercept : float
        Stored to displayed values; the slope is positive.
    shape : tuple of 2 int
        Rows and columns.
    has_phase_axis : bool
        The phase-encoding direction is known.
    """

    sums: SliceSums
    scaling: Scaling
    slope: float
    intercept: float
    shape: tuple[int, int]
    has_phase_axis: bool

    @property
    def unit(self) -> float:
        """Displayed value of one level."""
        return self.slope * (1 << self.scaling.shift)

    def real(self, level: float) -> float:
        """Displayed value of a level."""
        return self.unit * level + self.slope * self.scaling.offset + self.intercept

    def stored(self, sums: tuple[int, int, int]) -> ClassSums:
        """Exact sums of levels as exact sums of stored values."""
        count, total, squares = (int(part) for part in sums)
        offset, shift = int(self.scaling.offset), int(self.scaling.shift)
        scaled = total << shift
        return ClassSums(
            count,
            scaled + count * offset,
            (squares << 2 * shift) + 2 * offset * scaled + count * offset * offset,
        )

    def mean_sd(self, sums: tuple[int, int, int]) -> tuple[float, float]:
        """Mean and standard deviation (n - 1) of displayed values; the sums must not be empty."""
        count, total, squares = (int(part) for part in sums)
        variance = (count * squares - total * total) / (count * max(count - 1, 1))
        return self.real(total / count), self.unit * math.sqrt(variance)

    def head_reason(self) -> str | None:
        """Why there is no foreground, or None when there is one."""
        head, air = self.sums.histogram.head, self.sums.histogram.air
        pixels = self.shape[0] * self.shape[1]
        if head[0] < max(MIN_REGION, MIN_HEAD_SHARE * pixels):
            return "no_head"
        mean, sd = self.mean_sd(head)
        if air[0] >= MIN_AIR and mean < MIN_CONTRAST * self.mean_sd(air)[0]:
            return "no_head"
        # a picture of nothing but Rayleigh noise has mean / sd = 1.91 everywhere
        if head[0] > NOISE_FILL * pixels and sd > 0 and abs(mean / sd - RAYLEIGH_MEAN_TO_SD) < 0.15:
            return "no_head"
        return None

    def _tissue(self) -> float | NotComputable:
        reason = self.head_reason()
        if reason is None and self.sums.histogram.core[0] < MIN_CORE:
            reason = "no_core"
        if reason is not None:
            return NotComputable(reason)
        median = self.real(self.sums.histogram.core_median)
        return median if median > 0 else NotComputable("no_signal")

    def air_zero_share(self) -> Number:
        """Share of the air that is exactly zero."""
        nonzero = int(self.sums.histogram.air[0])
        zeros = int(self.sums.air.zeros)
        if nonzero + zeros < MIN_AIR:
            return NotComputable("no_air")
        return zeros / (nonzero + zeros)

    def air_reason(self) -> str | None:
        """Why the air says nothing about noise, or None."""
        share = self.air_zero_share()
        if isinstance(share, NotComputable):
            return share.reason
        return "air_is_zeroed" if share > MAX_ZERO_AIR else None

    def air_median(self) -> Number:
        """Median of the air without exact zeros."""
        reason = self.head_reason() or self.air_reason()
        return NotComputable(reason) if reason else self.real(self.sums.histogram.air_median)

    def noise_air(self) -> Number:
        """P1: Rayleigh sigma of the air from its median (Gudbjartsson 1995, eq. 4).

        Exact zeros are left out, so the median is that of a Rayleigh distribution above half a stored unit:
        ``median² = (unit/2)² + 2 sigma² ln 2``.
        """
        median = self.air_median()
        if isinstance(median, NotComputable):
            return median
        square = median * median - (0.25 * self.unit * self.unit if self.sums.air.zeros else 0.0)
        sigma = math.sqrt(max(square, 0.0)) / RAYLEIGH_MEDIAN
        return sigma if sigma >= self.slope else NotComputable("air_below_one")

    def snr_air(self) -> Number:
        """SNRd = 0.6551 median(core) / sigma (Dietrich 2007)."""
        return _combine(lambda tissue, noise: DIETRICH * tissue / noise, self._tissue(), self.noise_air())

    def noise_laplacian(self) -> Number:
        """P2: Immerkaer 1996, eq. 6."""
        gradients = self.sums.edge.gradients
        reason = self.head_reason() or ("no_core" if gradients.pixels < MIN_CORE else None)
        if reason:
            return NotComputable(reason)
        return math.sqrt(math.pi / 2) * gradients.laplacian / (6 * gradients.pixels) * self.unit

    def noise_laplacian_pct(self) -> Number:
        """P2 in percent of the median of the core."""
        return _combine(lambda tissue, noise: 100 * noise / tissue, self._tissue(), self.noise_laplacian())

    def _classes(self) -> tuple[tuple[int, int, int], tuple[int, int, int]] | NotComputable:
        tissue = self._tissue()
        if isinstance(tissue, NotComputable):
            return tissue
        histogram = self.sums.histogram
        least = max(MIN_REGION, MIN_CLASS_SHARE * histogram.core[0])
        if min(histogram.low_class[0], histogram.high_class[0]) < least:
            return NotComputable("one_class")
        return histogram.low_class, histogram.high_class

    def class_means(self) -> tuple[Number, Number]:
        """Means of the two upper classes of the core."""
        classes = self._classes()
        if isinstance(classes, NotComputable):
            return classes, classes
        return self.mean_sd(classes[0])[0], self.mean_sd(classes[1])[0]

    def snr_tissue(self) -> Number:
        """P3: mean / sd of the larger of the two upper classes."""
        classes = self._classes()
        if isinstance(classes, NotComputable):
            return classes
        mean, sd = self.mean_sd(max(classes, key=lambda sums: sums[0]))
        return mean / sd if sd > 0 else NotComputable("one_class")

    def cnr(self) -> Number:
        """P4: Magnotta 2006, on histogram classes."""
        noise, classes = self.noise_air(), self._classes()
        if isinstance(classes, NotComputable):
            return classes
        if isinstance(noise, NotComputable):
            return noise
        (low, low_sd), (high, high_sd) = self.mean_sd(classes[0]), self.mean_sd(classes[1])
        return abs(high - low) / math.sqrt(noise**2 + low_sd**2 + high_sd**2)

    def cjv(self) -> Number:
        """P4: coefficient of joint variation (Ganzetti 2016), on histogram classes."""
        classes = self._classes()
        if isinstance(classes, NotComputable):
            return classes
        (low, low_sd), (high, high_sd) = self.mean_sd(classes[0]), self.mean_sd(classes[1])
        return (low_sd + high_sd) / abs(high - low) if high != low else NotComputable("one_class")

    def sharpness(self) -> Number:
        """P10: mean of the strongest fifth of the gradients of the core, relative to its 98th percentile, 1/pixel."""
        tissue = self._tissue()
        if isinstance(tissue, NotComputable):
            return tissue
        top = self.sums.edge.top_edge
        if self.sums.edge.gradients.pixels < MIN_CORE:
            return NotComputable("no_core")
        return top if math.isfinite(top) else NotComputable("no_signal")

    def gradient_entropy(self) -> Number:
        """P11: entropy of the gradient along the phase-encoding direction (McGee 2000), relative to its maximum."""
        tissue = self._tissue()
        if isinstance(tissue, NotComputable):
            return tissue
        if not self.has_phase_axis:
            return NotComputable("phase_direction_unknown")
        count, total, logs = self.sums.edge.differences
        if count < MIN_CORE:
            return NotComputable("no_core")
        return (math.log(total) - logs / total) / math.log(count) if total > 0 else NotComputable("no_gradient")

    def _ghost(self, pairs: tuple[int, int, int, int], missing: str) -> Number:
        tissue = self._tissue()
        if isinstance(tissue, NotComputable):
            return tissue
        if not self.has_phase_axis:
            return NotComputable("phase_direction_unknown")
        reason = self.air_reason()
        inside, inside_total, outside, outside_total = (int(part) for part in pairs)
        if reason is None and min(inside, outside) < MIN_REGION:
            reason = missing
        if reason is not None:
            return NotComputable(reason)
        return self.unit * (inside_total / inside - outside_total / outside) / tissue

    def ghost_pe_pct(self) -> Number:
        """P12: air along the phase-encoding direction less the other air, in percent of the core."""
        air = self.sums.air
        ratio = self._ghost((air.crossing_count, air.crossing_total, air.side_count, air.side_total), "no_side_air")
        return ratio if isinstance(ratio, NotComputable) else 100 * ratio

    def ghost_half_fov(self) -> Number:
        """P13: air where a ghost shifted by half the field of view falls, less the other air (Giannelli 2010)."""
        air = self.sums.air
        return self._ghost(
            (air.shifted_count, air.shifted_total, air.unshifted_count, air.unshifted_total), "head_fills_fov"
        )

    def edge_energy(self) -> Number:
        """P7: 80th percentile of the outer lines at both ends of the phase axis, relative to the core."""
        tissue = self._tissue()
        if isinstance(tissue, NotComputable):
            return tissue
        if not self.has_phase_axis:
            return NotComputable("phase_direction_unknown")
        border = self.sums.edge.border_p80
        if not math.isfinite(border) or min(self.shape) < 4 * BORDER_LINES:
            return NotComputable("no_air")
        return self.real(border) / tissue

    def air_structure(self) -> Number:
        """P14: lag-1 autocorrelation along the frequency axis of air beside the head, less that of the corners."""
        reason = self.head_reason() or self.air_reason()
        if reason:
            return NotComputable(reason)
        if not self.has_phase_axis:
            return NotComputable("phase_direction_unknown")
        sums = self.sums.structure
        if min(sums.pairs, sums.corner_pairs) < MIN_REGION or min(sums.square, sums.corner_square) <= 0:
            return NotComputable("no_side_air")
        return sums.product / sums.square - sums.corner_product / sums.corner_square

    def efc(self) -> Number:
        """P5: entropy focus criterion (Atkinson 1997), relative to its maximum."""
        first, second, logs = self.sums.histogram.entropy
        pixels = int(self.sums.histogram.all[0])
        if self.intercept != 0 or second <= 0 or pixels < 2:
            return NotComputable("no_signal")
        norm = math.sqrt(second)
        most = math.sqrt(pixels) * math.log(math.sqrt(pixels))
        return (first * math.log(norm) - logs) / norm / most

    def fber(self) -> Number:
        """P6: ratio of the squared medians of foreground and background."""
        reason = self.head_reason()
        if reason:
            return NotComputable(reason)
        background = self.sums.histogram.background_median
        if not math.isfinite(background):
            return NotComputable("no_air")
        behind = self.real(background)
        # the lowest level of a zeroed background lies between -0.5 and 0.5 of a unit
        if behind < 0.5 * self.unit:
            return NotComputable("air_is_zeroed")
        return (self.real(self.sums.histogram.head_median) / behind) ** 2

    def smoothness(self) -> tuple[Number, Number]:
        """P16: full width at half maximum along rows and columns of the array, pixels (Forman 1995, eq. 1)."""
        gradients = self.sums.edge.gradients
        reason = self.head_reason() or ("no_core" if gradients.pixels < MIN_CORE else None)
        if reason:
            return NotComputable(reason), NotComputable(reason)
        count, total = int(gradients.pixels), int(gradients.total)
        variance = (count * int(gradients.squares) - total * total) / (count * count)
        return (
            _width(gradients.rows_squared / count, variance),
            _width(gradients.columns_squared / count, variance),
        )

    def centre_and_moments(self) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
        """D8: centre of mass (row, column) and central second moments (rr, rc, cc) of the foreground, pixels."""
        mass = self.sums.mass
        if self.head_reason() or mass.mass <= 0:
            return None, None
        row, column = mass.row / mass.mass, mass.column / mass.mass
        return (row, column), (
            mass.row_row / mass.mass - row * row,
            mass.row_column / mass.mass - row * column,
            mass.column_column / mass.mass - column * column,
        )


def _width(difference: float, variance: float) -> Number:
    if variance <= 0:
        return NotComputable("no_gradient")
    rest = 1 - difference / (2 * variance)
    if not 0 < rest < 1:
        return NotComputable("no_gradient")
    return math.sqrt(-2 * math.log(2) / math.log(rest))


def _combine(formula: Callable[[float, float], float], first: Number, second: Number) -> Number:
    """Apply a formula of two numbers unless one of them is missing."""
    if isinstance(first, NotComputable):
        return first
    if isinstance(second, NotComputable):
        return second
    return formula(first, second)
