"""Slice positions along the normal of a stack: spacing, holes, volumes.

Job: turn counts of images by position into a grid that says where images are missing and whether the spacing is
even. Place: pure; called by ``qc.series`` for the geometry checks and by ``completeness`` while images still
arrive. It must never sort by InstanceNumber or file name: both are legally in any order (PS3.3 C.7.6.2.1.1 defines
position and orientation instead).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

Vector = tuple[float, float, float]

SAME_POSITION_MM = 0.02
EVEN_SHARE = 0.05
HOLE_RATIO = 1.5


@dataclass(frozen=True, slots=True)
class SliceGrid:
    """Images of one stack by position along its normal.

    Attributes
    ----------
    positions : tuple of float
        Distinct positions, ascending, mm.
    counts : tuple of int
        Images at each position.
    spacing_mm : float or None
        Spacing of neighbours; None with fewer than two positions.
    missing_positions : int
        Positions that lie empty between the first and the last.
    largest_deviation : float
        Largest relative deviation of a distance from the spacing, holes excluded.
    is_even : bool
        Every distance is a whole multiple of the spacing.
    """

    positions: tuple[float, ...]
    counts: tuple[int, ...]
    spacing_mm: float | None
    missing_positions: int
    largest_deviation: float
    is_even: bool

    @property
    def volumes(self) -> int:
        """Images at the fullest position."""
        return max(self.counts, default=0)

    @property
    def slices_expected(self) -> int:
        """Positions, the empty ones between them included."""
        return len(self.positions) + self.missing_positions

    @property
    def images_expected(self) -> int:
        """Images of the full grid."""
        return self.slices_expected * self.volumes

    @property
    def images_missing(self) -> int:
        """Images that the full grid would have more."""
        return self.images_expected - sum(self.counts)

    @property
    def extent_mm(self) -> float:
        """Distance from the first to the last position."""
        return self.positions[-1] - self.positions[0] if self.positions else 0.0


def normal_of(orientation: Sequence[float]) -> Vector:
    """Return the normal of an Image Orientation (Patient): row direction × column direction."""
    a, b, c, d, e, f = orientation
    return (b * f - c * e, c * d - a * f, a * e - b * d)


def project(position: Sequence[float], normal: Vector) -> float:
    """Return the position along the normal, mm."""
    return position[0] * normal[0] + position[1] * normal[1] + position[2] * normal[2]


def build_grid(images: Mapping[float, int], thickness_mm: float | None = None) -> SliceGrid:
    """Arrange images by position.

    Parameters
    ----------
    images : mapping
        Number of images at each position along the normal, mm.
    thickness_mm : float, optional
        Slice Thickness; it decides which spacing is the true one when few positions leave it open.
    """
    positions, counts = _merge(images)
    gaps = [b - a for a, b in pairwise(positions)]
    if not gaps:
        return SliceGrid(tuple(positions), tuple(counts), None, 0, 0.0, is_even=True)
    spacing = _spacing(gaps, thickness_mm)
    missing, deviation, even = 0, 0.0, True
    for gap in gaps:
        steps = max(1, round(gap / spacing))
        off = abs(gap - steps * spacing) / spacing
        is_hole = gap > HOLE_RATIO * spacing and off <= EVEN_SHARE * steps
        missing += steps - 1 if is_hole else 0
        if not is_hole:
            deviation = max(deviation, abs(gap - spacing) / spacing)
            even = even and off <= EVEN_SHARE and steps == 1
    return SliceGrid(tuple(positions), tuple(counts), spacing, missing, deviation, even)


def _merge(images: Mapping[float, int]) -> tuple[list[float], list[int]]:
    positions: list[float] = []
    counts: list[int] = []
    for place in sorted(images):
        if positions and place - positions[-1] <= SAME_POSITION_MM:
            counts[-1] += images[place]
        else:
            positions.append(place)
            counts.append(images[place])
    return positions, counts


def _spacing(gaps: Sequence[float], thickness_mm: float | None) -> float:
    """Return the commonest distance; of equally common ones the smallest, or the one that is the thickness."""
    tally = Counter(round(gap, 2) for gap in gaps)
    most = max(tally.values())
    commonest = sorted(gap for gap, count in tally.items() if count == most)
    chosen = commonest[0]
    if len(commonest) > 1 and thickness_mm:
        near = [gap for gap in commonest if abs(gap - thickness_mm) <= 0.1 * thickness_mm]
        chosen = near[0] if near else chosen
    if most == 1:
        chosen = sorted(gaps)[len(gaps) // 2] if len(gaps) > 2 and not _whole_multiples(gaps, chosen) else chosen
    alike = [gap for gap in gaps if abs(gap - chosen) <= max(0.01, EVEN_SHARE * chosen)]
    return sorted(alike)[len(alike) // 2] if alike else chosen


def _whole_multiples(gaps: Sequence[float], unit: float) -> bool:
    return all(abs(gap / unit - round(gap / unit)) <= EVEN_SHARE * max(1, round(gap / unit)) for gap in gaps)
