"""Protocol compliance: every parameter of a rule against every image of the series.

Place: called by ``verdict``. A parameter is a DICOM keyword or a derived name of ``DERIVED_PARAMETERS``; the worst
value of the series is judged, because a series whose last images were made with another protocol is not compliant. It
must never take the nominal slice spacing for the real one: that is measured along the normal.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from pydicom.datadict import dictionary_description, tag_for_keyword

from agent.qc.checks.bands import Band, number
from agent.qc.checks.scope import Scope, missing_policy
from agent.qc.findings import Check
from agent.qc.profiles.model import DERIVED_PARAMETERS, Limit
from agent.qc.series import Series, Slice

Value = float | str

FRAME_PARAMETERS = {
    "EchoTime": "echo_time", "RepetitionTime": "repetition_time", "FlipAngle": "flip_angle",
    "InversionTime": "inversion_time", "SliceThickness": "slice_thickness",
}  # fmt: skip
GEOMETRY = {"in_plane_mm", "voxel_max_mm", "slice_spacing_mm", "slice_gap_mm", "n_slices", "n_volumes", "fov_mm"}
GEOMETRY_KEYWORDS = {"SliceThickness", "PixelSpacing", "Rows", "Columns", "SpacingBetweenSlices"}


def check(scope: Scope) -> Iterator[Check]:
    """Judge each parameter of the rule."""
    for name, limit in scope.rule.parameters.items():
        values = values_of(scope.series, name)
        title, unit = title_of(name), limit.unit or DERIVED_PARAMETERS.get(name, ("", ""))[1]
        group = "geometry" if name in GEOMETRY or name in GEOMETRY_KEYWORDS else "protocol"
        if not values:
            policy = missing_policy(limit.missing, limit.severity)
            detail = "The headers do not say."
            yield replace(
                scope.silent(name, group, title, detail, policy, limit.severity), limit=_words(limit, unit, scope)
            )
            continue
        yield _judge(scope, name, limit, values, (group, title, unit))


def title_of(name: str) -> str:
    """Return the words of the Standard for a keyword, or of the documentation for a derived name."""
    if name in DERIVED_PARAMETERS:
        return DERIVED_PARAMETERS[name][0]
    tag = tag_for_keyword(name)
    return dictionary_description(tag) if tag is not None else name


def values_of(series: Series, name: str) -> Counter[Value]:
    """Return the values of a parameter in the slices of a series with how often each occurs."""
    found: Counter[Value] = Counter()
    if name in DERIVED_PARAMETERS:
        found.update(_derived(series, name))
        return found
    attribute = FRAME_PARAMETERS.get(name)
    for item in series.slices:
        own = getattr(item.frame, attribute) if attribute is not None else None
        if own is not None:
            found[own] += 1
        else:
            found.update(_header_values(item, name))
    return found


def _header_values(item: Slice, name: str) -> tuple[Value, ...]:
    headers = item.image.headers
    if name == "PixelSpacing":
        return item.frame.pixel_spacing or ()
    if name == "MagneticFieldStrength" and headers.sequence.field_strength is not None:
        return (headers.sequence.field_strength,)
    return tuple(headers.parameters.get(name, ()))


def _judge(scope: Scope, name: str, limit: Limit, values: Counter[Value], words: tuple[str, str, str]) -> Check:
    group, title, unit = words
    band = limit.band(scope.series.vendor)
    numbers = {v: n for v, n in values.items() if isinstance(v, int | float)}
    if band is not None and numbers:
        return _judge_numbers(scope, (name, group, title, unit), limit, band, numbers)
    if limit.by_vendor and band is None:
        detail = "The profile gives no range for this vendor."
        return scope.silent(name, group, title, detail, "ignore", limit.severity)
    wanted = {str(v).lower() for v in (limit.one_of or (limit.value,)) if v is not None}
    wrong = [v for v in values if str(v).lower() not in wanted]
    shown = ", ".join(str(v) for v in values)
    if wrong:
        detail = _affected(sum(values[v] for v in wrong), sum(values.values()))
        return scope.failed(
            name, group, title, detail, measured=shown, limit=_words(limit, unit, scope), severity=limit.severity
        )
    passed = scope.passed(name, group, title, measured=shown, limit=_words(limit, unit, scope))
    return replace(passed, severity=limit.severity)


def _judge_numbers(
    scope: Scope, words: tuple[str, str, str, str], limit: Limit, band: Band, numbers: dict[float, int]
) -> Check:
    name, group, title, unit = words
    judged = sorted((band.judge(value)[1], value) for value in numbers)
    worst = judged[0][1] if judged[0][0] < 1 else max(numbers, key=lambda v: numbers[v])
    off = sum(count for value, count in numbers.items() if band.judge(value)[0] != "pass")
    detail = _affected(off, sum(numbers.values())) if off else ""
    spread = f"{number(min(numbers))} to {number(max(numbers))} in the series." if len(numbers) > 1 else ""
    result = scope.judged(
        name, group, title, worst, band, unit=unit, severity=limit.severity, detail=f"{detail} {spread}".strip()
    )
    return replace(result, weight=limit.weight)


def _affected(count: int, total: int) -> str:
    return "" if count == total else f"{count} of {total} slices."


def _words(limit: Limit, unit: str, scope: Scope) -> str:
    band = limit.band(scope.series.vendor)
    if band is not None:
        return band.words(unit)
    if limit.one_of:
        return " or ".join(str(v) for v in limit.one_of)
    return str(limit.value) if limit.value is not None else ""


def _derived(series: Series, name: str) -> list[Value]:
    if name == "slice_order":
        order = slice_order(series)
        return [order] if order else []
    if name == "echo_planar":
        sequence = series.images[0].headers.sequence
        if sequence.is_echo_planar or re.search(r"\bep|epi", sequence.sequence_name, re.IGNORECASE):
            return ["yes"]
        # Philips writes SE and keeps the EPI factor in private elements
        return [] if not sequence.scanning_sequence or "PHILIPS" in series.vendor.upper() else ["no"]
    if name == "n_volumes":
        return [float(len(series.volumes))] if series.volumes else []
    if name == "n_slices":
        return [float(len(series.grid.positions))] if series.grid is not None else []
    if name in ("slice_spacing_mm", "slice_gap_mm"):
        return _spacing(series, name)
    sizes: list[Value] = []
    for item in series.slices:
        spacing, frame = item.frame.pixel_spacing, item.frame
        if spacing is None:
            continue
        if name == "in_plane_mm":
            sizes.extend(spacing)
        elif name == "voxel_max_mm":
            sizes.append(max(*spacing, frame.slice_thickness or 0.0))
        elif name == "fov_mm":
            sizes.append(round(min(frame.rows * spacing[0], frame.columns * spacing[1]), 2))
    return sizes


def _spacing(series: Series, name: str) -> list[Value]:
    grid = series.grid
    if grid is None or grid.spacing_mm is None:
        return []
    if name == "slice_spacing_mm":
        return [round(grid.spacing_mm, 3)]
    thickness = [s.frame.slice_thickness for s in series.slices if s.frame.slice_thickness is not None]
    return [round(grid.spacing_mm - thickness[0], 3)] if thickness else []


def slice_order(series: Series) -> str:
    """Read the order of acquisition from the times inside the first volume; empty when they do not tell."""
    if not series.volumes:
        return ""
    times = [s.frame.acquisition_time for s in series.volumes[0].slices]
    if len(times) < 4 or not all(times) or len(set(times)) < 0.9 * len(times):
        return ""
    steps = [b > a for a, b in pairwise(times)]
    share = sum(steps) / len(steps)
    return "sequential" if share > 0.95 or share < 0.05 else "interleaved"
