"""Numbers of CT series: air, noise, metal, truncation.

Place: called by ``pixel_metrics``. Hounsfield units after the rescale of each slice; it must never take padding for
air.
"""

from __future__ import annotations

from statistics import median

from agent.qc.measurement import REASONS, NotComputable
from agent.qc.series import Series

Answer = tuple[float | None, str, str]


def noise(series: Series) -> Answer:
    """Return the median noise of soft tissue (C2), HU."""
    return _median(series, "noise_hu", 1.0)


def air(series: Series) -> Answer:
    """Return the median of the air mode (C1), HU."""
    return _median(series, "air_hu", 1.0)


def metal(series: Series) -> Answer:
    """Return the largest share of metal inside the body (C5), percent."""
    values = [v for v in _values(series, "metal_share") if isinstance(v, float)]
    return (100 * max(values), "", "") if values else (None, _reason(series, "metal_share"), "")


def truncation(series: Series) -> Answer:
    """Return the median share of the outline that the field of view cuts (C4), percent."""
    return _median(series, "truncation_share", 100.0)


def _median(series: Series, field: str, factor: float) -> Answer:
    values = [v for v in _values(series, field) if isinstance(v, float)]
    if not values:
        return None, _reason(series, field), ""
    return factor * median(values), "", ""


def _values(series: Series, field: str) -> list[float | NotComputable]:
    found: list[float | NotComputable] = []
    for item in series.slices:
        numbers = item.measured
        if numbers is None:
            continue
        content = getattr(numbers, field)
        found.append(content if isinstance(content, NotComputable) else float(content))
    return found


def _reason(series: Series, field: str) -> str:
    reasons = [v.reason for v in _values(series, field) if isinstance(v, NotComputable)]
    return (
        REASONS.get(max(set(reasons), key=reasons.count), "It could not be computed.")
        if reasons
        else "No slice was measured."
    )
