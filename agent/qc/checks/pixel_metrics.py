"""Numbers from pixels, judged by the metric limits of a rule.

Place: called by ``verdict``. A metric whose limit is not calibrated for the site may warn and never fails a study;
one that could not be computed says why and counts as undetermined. Slices at the ends of a stack are left out of
medians: they hold little head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from statistics import median

from agent.qc.checks import ct, spatial
from agent.qc.checks.advice import advise
from agent.qc.checks.diffusion_numbers import (
    BlockTable,
    apparent_diffusivity,
    block_table,
    drift_mm,
    dropouts,
    neighbour_correlation,
    unweighted_snr,
)  # fmt: skip
from agent.qc.checks.scope import Scope
from agent.qc.findings import Check
from agent.qc.measurement import REASONS, NotComputable
from agent.qc.profiles.model import METRICS, MetricLimit
from agent.qc.series import Series, Slice

CENTRAL_SHARE = 0.6

GROUP_OF = {
    "coverage_si_mm": "coverage", "end_slices_share": "coverage", "truncation_share": "coverage",
    "edge_energy": "coverage", "dropout_fraction": "motion", "ndc": "motion", "volume_drift_mm": "motion",
    "ghost_pe_pct": "motion", "ghost_half_fov": "motion", "slice_outliers": "motion", "gradient_entropy": "motion",
    "sharpness": "motion", "b0_snr": "contrast", "noise_pct": "contrast", "snr_air": "contrast",
    "snr_tissue": "contrast", "cjv": "contrast", "cnr": "contrast", "noise_hu": "contrast",
    "apparent_md": "diffusion",
}  # fmt: skip

SLICE_FIELDS = {
    "ghost_pe_pct": "ghost_pe_pct", "ghost_half_fov": "ghost_half_fov", "edge_energy": "edge_energy",
    "noise_pct": "noise_laplacian_pct", "snr_air": "snr_air", "snr_tissue": "snr_tissue", "cjv": "cjv", "cnr": "cnr",
    "sharpness": "sharpness", "gradient_entropy": "gradient_entropy", "efc": "efc", "fber": "fber",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Figure:
    """A number of a series, or the reason why there is none."""

    value: float | None
    reason: str = ""
    detail: str = ""


def check(scope: Scope) -> Iterator[Check]:
    """Judge every metric of the rule."""
    table: BlockTable | None = None
    if any(name in ("ndc", "b0_snr", "apparent_md") for name in scope.rule.metrics):
        table = block_table(scope.series)
    for name, limit in scope.rule.metrics.items():
        yield _judge(scope, name, limit, figure_of(scope.series, name, table))


def _judge(scope: Scope, name: str, limit: MetricLimit, figure: Figure) -> Check:
    title, unit = METRICS[name]
    group = GROUP_OF.get(name, "image")
    if figure.value is None:
        found = scope.silent(name, group, title, figure.reason, "undetermined", "minor")
        return replace(found, weight=limit.weight, limit=limit.band().words(unit), unit=unit, advice="")
    value = round(figure.value, 5)
    found = scope.judged(
        name, group, title, value, limit.band(), unit=unit, severity=limit.severity, detail=figure.detail
    )
    found = replace(found, weight=limit.weight, uncalibrated=not limit.calibrated)
    if found.result == "fail" and not limit.calibrated and name != "blank_slices":
        detail = f"{found.detail} The limit is not calibrated for this scanner, so it warns only.".strip()
        return replace(found, result="warn", share=0.0, detail=detail, severity="minor")
    if found.result == "fail":
        return replace(found, advice=advise(name, found.id, scope.profile.remediation))
    return found


def figure_of(series: Series, name: str, table: BlockTable | None) -> Figure:
    """Compute one metric of a series."""
    special = SPECIAL.get(name)
    if special is not None:
        return special(series, table)
    return slice_median(series, SLICE_FIELDS[name])


def slice_median(series: Series, field: str) -> Figure:
    """Return the median of a number over the central slices that hold it; diffusion takes b = 0 volumes."""
    values: list[float] = []
    reasons: list[str] = []
    for item in central(series):
        numbers = item.measured
        if numbers is None:
            reasons.append(item.numbers.reason if isinstance(item.numbers, NotComputable) else "no_pixels")
            continue
        content = getattr(numbers, field)
        if isinstance(content, NotComputable):
            reasons.append(content.reason)
        else:
            values.append(content)
    if len(values) <= len(reasons):
        commonest = max(set(reasons), key=reasons.count) if reasons else "no_pixels"
        return Figure(None, REASONS.get(commonest, "It could not be computed."))
    return Figure(float(median(values)))


def central(series: Series) -> list[Slice]:
    """Return the slices of the central 60 % of the stack; of a diffusion series those without weighting."""
    slices = list(series.slices)
    if any(v.is_weighted for v in series.volumes):
        unweighted = [s for v in series.volumes if not v.is_weighted for s in v.slices]
        slices = unweighted or slices
    if series.grid is None or len(series.grid.positions) < 5:
        return slices
    low, high = series.grid.positions[0], series.grid.positions[-1]
    margin = (1 - CENTRAL_SHARE) / 2 * (high - low)
    return [s for s in slices if s.location_mm is not None and low + margin <= s.location_mm <= high - margin]


def _dropout(series: Series, table: BlockTable | None) -> Figure:
    del table
    found, compared = dropouts(series)
    if not compared:
        return Figure(None, "Too few volumes of one b value to compare slices.")
    worst = sorted(found, key=lambda d: d.z)[:5]
    named = ", ".join(f"volume {d.volume + 1} slice {d.position + 1}" for d in worst)
    detail = f"{len(found)} of {compared} slices: {named}{' …' if len(found) > 5 else ''}." if found else ""
    return Figure(len(found) / compared, detail=detail)


def _from_table(
    compute: Callable[[BlockTable], float | None], reason: str
) -> Callable[[Series, BlockTable | None], Figure]:
    def figure(series: Series, table: BlockTable | None) -> Figure:
        del series
        value = compute(table) if table is not None else None
        return Figure(value, reason if value is None else "")

    return figure


def _drift(series: Series, table: BlockTable | None) -> Figure:
    del table
    value = drift_mm(series)
    return Figure(value, "Too few volumes with a centre of mass." if value is None else "")


def _of_series(
    compute: Callable[[Series], tuple[float | None, str, str]],
) -> Callable[[Series, BlockTable | None], Figure]:
    def figure(series: Series, table: BlockTable | None) -> Figure:
        del table
        return Figure(*compute(series))

    return figure


SPECIAL: dict[str, Callable[[Series, BlockTable | None], Figure]] = {
    "dropout_fraction": _dropout,
    "ndc": _from_table(neighbour_correlation, "Fewer than three weighted volumes with directions."),
    "b0_snr": _from_table(unweighted_snr, "Fewer than two volumes without diffusion weighting."),
    "apparent_md": _from_table(apparent_diffusivity, "Needs volumes with and without diffusion weighting."),
    "volume_drift_mm": _drift,
    "coverage_si_mm": _of_series(spatial.coverage),
    "end_slices_share": _of_series(spatial.end_slices),
    "slice_outliers": _of_series(spatial.outliers),
    "blank_slices": _of_series(spatial.blank),
    "saturated_share": _of_series(spatial.saturated),
    "noise_hu": _of_series(ct.noise),
    "air_hu": _of_series(ct.air),
    "metal_share": _of_series(ct.metal),
    "truncation_share": _of_series(ct.truncation),
}
