"""Geometry: one stack, even spacing, one matrix, sane directions.

Place: called by ``verdict``. Distances are taken along the normal (PS3.3 C.7.6.2.1.1); it must never compare Slice
Location, which is optional and relative.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from agent.qc.checks.bands import Band, number
from agent.qc.checks.scope import Scope
from agent.qc.findings import Check
from agent.qc.series import Series

TILT_DEGREES = 0.1
SKEW = 1e-3


def check(scope: Scope) -> Iterator[Check]:
    """Judge the geometry of one series."""
    yield _one_stack(scope)
    yield _directions(scope)
    yield _even(scope)
    yield _one_matrix(scope)


def _one_stack(scope: Scope) -> Check:
    title = "All slices in one orientation"
    stacks = scope.series.stacks
    if stacks == 0:
        return scope.silent(
            "orientation", "geometry", title, "Positions or orientations are missing.", "undetermined", "major"
        )
    if stacks > 1:
        detail = f"The slices lie in {stacks} orientations; the largest angle is {_largest_angle(scope.series):.1f}°."
        return scope.failed("orientation", "geometry", title, detail, measured=float(stacks), limit="1")
    return scope.passed("orientation", "geometry", title, measured=1.0, limit="1")


def _largest_angle(series: Series) -> float:
    normals = Counter(tuple(round(x, 4) for x in s.frame.normal) for s in series.slices if s.frame.normal is not None)
    reference = normals.most_common(1)[0][0]
    cosines = [abs(sum(a * b for a, b in zip(reference, n, strict=True))) for n in normals]
    return math.degrees(math.acos(max(-1.0, min(1.0, *cosines))))


def _directions(scope: Scope) -> Check:
    title = "Row and column directions perpendicular and of unit length"
    worst = 0.0
    for item in scope.series.slices:
        if item.frame.orientation is None:
            continue
        a, b, c, d, e, f = item.frame.orientation
        worst = max(worst, abs(a * d + b * e + c * f), abs(a * a + b * b + c * c - 1), abs(d * d + e * e + f * f - 1))
    if worst > SKEW:
        return scope.warned("directions", "geometry", title, f"They are off by {worst:.4f}.", measured=worst)
    return scope.passed("directions", "geometry", title, measured="yes", limit="yes")


def _even(scope: Scope) -> Check:
    """Judge distances of neighbours: 1 % passes, 5 % fails (G3); holes are counted by the integrity checks."""
    title = "Slices evenly spaced"
    grid = scope.series.grid
    if grid is None or grid.spacing_mm is None or len(grid.positions) < 3:
        return scope.silent(
            "spacing", "geometry", title, "There is no stack of three slices or more.", "ignore", "major"
        )
    gaps = [b - a for a, b in pairwise(grid.positions)]
    deviation = 100 * max(abs(gap - grid.spacing_mm) / grid.spacing_mm for gap in gaps)
    detail = f"Distances from {number(min(gaps))} to {number(max(gaps))} mm." if deviation > 1 else ""
    return scope.judged(
        "spacing", "geometry", title, round(deviation, 2), Band(high=1.0, fail_high=5.0), unit="%", detail=detail
    )


def _one_matrix(scope: Scope) -> Check:
    title = "One matrix and pixel size"
    sizes = Counter((s.frame.rows, s.frame.columns, s.frame.pixel_spacing) for s in scope.series.slices)
    shown = ", ".join(f"{rows} × {columns}" for rows, columns, _ in sizes)
    if len(sizes) > 1:
        return scope.failed("matrix", "geometry", title, f"{len(sizes)} different ones.", measured=shown, limit="one")
    return scope.passed("matrix", "geometry", title, measured=shown, limit="one")
