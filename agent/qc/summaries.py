"""What the report says about the series of a study.

Job: counts, class with its reasons, and the technical facts of a series, without anything that a person typed. Place:
called by ``verdict``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from agent.completeness.sequence_class import B0_MAX
from agent.qc.checks.bands import number
from agent.qc.findings import SeriesSummary
from agent.qc.series import Series


def summarize(series: Series, rule: str, score: float | None, picked: bool) -> SeriesSummary:
    """Summarize one series."""
    classification = series.classification
    return SeriesSummary(
        label=series.label,
        number=series.number,
        sequence_class=classification.sequence_class,
        confidence=classification.confidence,
        evidence=tuple(e.why for e in classification.evidence if e.points_to == classification.sequence_class),
        graded=series.is_graded and bool(rule),
        rule=rule,
        objects=len(series.images),
        slices=len(series.slices) or sum(len(i.headers.frames) for i in series.images),
        positions=len(series.grid.positions) if series.grid is not None else 0,
        volumes=len(series.volumes),
        set_aside=tuple(f"{item.count} {item.reason}" for item in series.set_aside),
        score=score,
        picked=picked,
        facts=_facts(series),
    )


def _facts(series: Series) -> tuple[tuple[str, str], ...]:
    """Return technical facts of the first slice, those that are known."""
    if not series.slices:
        return ()
    frame, headers = series.slices[0].frame, series.images[0].headers
    spacing = frame.pixel_spacing
    gap = series.grid.spacing_mm if series.grid is not None else None
    pairs = (
        ("Matrix", f"{frame.columns} × {frame.rows}"),
        ("Pixel size", f"{number(spacing[0])} × {number(spacing[1])} mm" if spacing else ""),
        ("Slice thickness", _with_unit(frame.slice_thickness, "mm")),
        ("Slice spacing", _with_unit(gap, "mm")),
        ("TR", _with_unit(frame.repetition_time, "ms")),
        ("TE", _with_unit(frame.echo_time, "ms")),
        ("TI", _with_unit(frame.inversion_time, "ms")),
        ("Flip angle", _with_unit(frame.flip_angle, "°")),
        ("Field strength", _with_unit(headers.sequence.field_strength, "T")),
        ("b values", _shells(series)),
        ("kVp", _with_unit(headers.ct.kvp, "kV")),
        ("Kernel", " ".join(headers.ct.convolution_kernel)),
    )
    return tuple((name, value) for name, value in pairs if value)


def _with_unit(value: float | None, unit: str) -> str:
    return f"{number(value)} {unit}".replace(" °", "°") if value is not None else ""


def _shells(series: Series) -> str:
    table = Counter(0 if v.b_value <= B0_MAX else round(v.b_value) for v in series.volumes if v.b_value is not None)
    return ", ".join(f"{count} × {b}" for b, count in sorted(table.items()))


def metadata_of(series: Sequence[Series]) -> tuple[tuple[str, str], ...]:
    """Return what the headers say about scanner and encoding; nothing about a person."""
    images = [i for s in series for i in s.images if i.headers.is_image]
    if not images:
        return ()
    first = images[0].headers
    syntaxes = Counter(i.headers.pixels.transfer_syntax_uid for i in images)
    ages = [i.headers.patient.age_years for i in images]
    pairs = (
        ("Manufacturer", first.manufacturer),
        ("Model", first.model),
        ("Software", " ".join(first.software)),
        ("Modality", first.modality),
        ("Body part", first.body_part),
        ("Patient position", first.patient_position),
        ("Transfer syntaxes", ", ".join(f"{uid} ({count})" for uid, count in syntaxes.items() if uid)),
        ("Patient's Age", "usable" if ages and ages[0] is not None else "not usable"),
        ("Patient's Sex", "usable" if first.patient.sex in ("M", "F", "O") else "not usable"),
        ("Image objects", str(len(images))),
    )
    return tuple((name, value) for name, value in pairs if value)
