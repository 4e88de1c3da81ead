"""Numbers along the stack: coverage, end slices, outlying, blank and saturated slices.

Place: called by ``pixel_metrics``. Each returns value, reason, detail: the value is None when it cannot be computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from agent.qc.measurement import NotComputable
from agent.qc.series import Series, Slice

Answer = tuple[float | None, str, str]

OUTLIER_LOG = 0.25


def coverage(series: Series) -> Answer:
    """Return the extent of the stack along the normal (G6): (positions − 1) × spacing + thickness."""
    grid = series.grid
    if grid is None or grid.spacing_mm is None:
        return None, "The slices are not one stack.", ""
    thickness = series.slices[0].frame.slice_thickness or grid.spacing_mm
    return round(grid.extent_mm + thickness, 2), "", ""


def end_slices(series: Series) -> Answer:
    """Return the foreground of the larger of both end slices as a share of the largest slice (G6)."""
    areas = _by_position(series, "foreground_area_mm2")
    if len(areas) < 5 or max(areas) <= 0:
        return None, "The area of the head is not known along the stack.", ""
    return round(max(areas[0], areas[-1]) / max(areas), 4), "", ""


def outliers(series: Series) -> Answer:
    """Return the share of inner slices whose mean leaves the line of their neighbours by more than a quarter (P18)."""
    means = _by_position(series, "foreground_log_mean")
    if len(means) < 7:
        return None, "Fewer than seven slices with a measured foreground.", ""
    inner = range(2, len(means) - 2)
    off = [
        n
        for n in inner
        if abs(means[n] - median((means[n - 2], means[n - 1], means[n + 1], means[n + 2]))) > OUTLIER_LOG
    ]
    named = ", ".join(str(n + 1) for n in off[:6])
    return len(off) / len(inner), "", f"Slices {named} of the stack." if off else ""


def _beside(means: Sequence[float], n: int) -> float:
    return median((means[n - 2], means[n - 1], means[n + 1], means[n + 2]))


def _by_position(series: Series, field: str) -> list[float]:
    """Return the median of a number at each position, ascending; positions without one are left out."""
    places: dict[float, list[float]] = {}
    for item in series.slices:
        numbers = item.measured
        if numbers is None or item.location_mm is None:
            continue
        content = getattr(numbers, field)
        if not isinstance(content, NotComputable):
            places.setdefault(round(item.location_mm, 1), []).append(content)
    return [median(values) for _, values in sorted(places.items())]


def blank(series: Series) -> Answer:
    """Count slices without signal that are not at an end of the stack (I4)."""
    measured = [s for s in series.slices if s.measured is not None]
    if not measured:
        return None, "No slice could be decoded.", ""
    ends = {s.location_mm for s in (measured[0], measured[-1])}
    empty = [s for s in measured if s.measured is not None and s.measured.is_blank and s.location_mm not in ends]
    return float(len(empty)), "", f"{len(empty)} of {len(measured)} slices hold one value only." if empty else ""


def saturated(series: Series) -> Answer:
    """Return the share of pixels at the largest code or the largest value of the worst slice, percent (I5)."""
    worst: float | None = None
    for item in series.slices:
        share = _largest_share(item)
        if share is not None:
            worst = share if worst is None else max(worst, share)
    if worst is None:
        return None, "No slice could be measured.", ""
    return 100 * worst, "", ""


def _largest_share(item: Slice) -> float | None:
    numbers = item.measured
    if numbers is None:
        return None
    shares = [s for s in (numbers.saturated_share, numbers.plateau_share) if not isinstance(s, NotComputable)]
    return max(shares, default=None)
