"""Judge: does a count in the headers promise as many images as came?

Place: called by ``decision`` for each series; pure. Series proof: frames of one enhanced object; Philips' slices
(2001,1018) × (b0 + directions × non-zero b values); slices × (0020,0105) when that is above 1. It must never take a
count for what it is not: GE (0020,1002) and (0021,104F) count one volume, Siemens (0019,100A) counts the tiles of
one mosaic, (0020,0105) = 1 says nothing, and where a formula and the slice grid disagree the answer is *unknown*
with both numbers.
"""

from __future__ import annotations

from agent.completeness.evidence import Finding, series_name
from agent.completeness.grid import SliceGrid
from agent.completeness.ledger import SeriesLedger

JUDGE = "header_counts"


def judge(series: SeriesLedger) -> Finding:
    """Compare what came with what the headers promise."""
    name = series_name(series)
    if not series.images:
        return _unknown(series, f"{name.capitalize()} holds no original images to count.")
    if series.multiframe:
        return _enhanced(series, name)
    if series.tiled:
        return _mosaic(series, name)
    slices = _count(series, "philips_slices")
    if slices:
        return _philips(series, name, slices)
    return _temporal(series, name)


def _enhanced(series: SeriesLedger, name: str) -> Finding:
    if series.cut_frames:
        numbers: dict[str, float] = {"received": series.frames - series.cut_frames, "expected": series.frames}
        sentence = f"{series.cut_frames} of {series.frames} frames of {name} missing inside its objects."
        return Finding(JUDGE, "series", series.uid, "not_met", sentence, numbers)
    parts = _count(series, "in_concatenation_total") or 0
    if parts > 1:
        return _compare(series, name, parts, f"a concatenation of {parts} objects")
    if series.images == 1 and min(series.instance_numbers, default=1) <= 1:
        numbers = {"received": series.frames, "expected": series.frames}
        sentence = f"The enhanced object of {name} says {series.frames} frames and holds them all."
        return Finding(JUDGE, "series", series.uid, "met", sentence, numbers)
    return _unknown(series, f"{series.images} enhanced objects of {name} came; no header says how many there are.")


def _mosaic(series: SeriesLedger, name: str) -> Finding:
    slices = _count(series, "siemens_mosaic") or _count(series, "uih_tiles") or 0
    volumes = _count(series, "number_of_temporal_positions") or 0
    each = f"each holds all {slices} slices of a volume" if slices else "each holds all slices of a volume"
    if volumes > 1:
        return _compare(series, name, volumes, f"{each}; (0020,0105) promises {volumes} volumes")
    return _unknown(
        series, f"{series.images} objects of {name} came and {each}; no header says how many volumes there are."
    )


def _philips(series: SeriesLedger, name: str, slices: int) -> Finding:
    b_values = _count(series, "philips_b_values") or 1
    directions = _count(series, "philips_gradient_orientations") or 1
    if any(b for b, _ in series.volumes) or b_values > 1:
        weighted = max(1, b_values - 1)
        volumes = 1 + directions * weighted
        formula = f"{slices} slices × (1 + {directions} directions × {weighted} b values)"
    else:
        volumes = max(1, _count(series, "number_of_temporal_positions") or 1)
        formula = f"{slices} slices" if volumes == 1 else f"{slices} slices × {volumes} time points"
    expected, grid = slices * volumes, series.grid()
    if grid is not None and len(grid.positions) > slices:
        return _disagree(series, name, f"{len(grid.positions)} slice positions", f"{slices} slices")
    received = series.images + series.isotropic  # the scanner counts its mean image as a direction
    if received > expected or (volumes == 1 and grid is not None and grid.volumes > 1):
        return _disagree(series, name, f"{received} images", f"{formula} = {expected}")
    if received == slices * directions and grid is not None and not grid.images_missing and directions > 1:
        # newer releases count the b=0 volume among the directions, so that this may already be all
        return _disagree(series, name, f"a whole grid of {received} images", f"{formula} = {expected}")
    return _compare(series, name, expected, formula, received)


def _temporal(series: SeriesLedger, name: str) -> Finding:
    times = _count(series, "number_of_temporal_positions") or 0
    grid = series.grid()
    if times < 2 or grid is None or grid.missing_positions:
        return _unknown(series, f"No header of {name} says how many images the series has.")
    return _temporal_grid(series, name, times, grid)


def _temporal_grid(series: SeriesLedger, name: str, times: int, grid: SliceGrid) -> Finding:
    expected = grid.slices_expected * times
    if series.images > expected:
        return _disagree(
            series, name, f"{series.images} images", f"{times} time points × {grid.slices_expected} slices"
        )
    return _compare(series, name, expected, f"{times} time points × {grid.slices_expected} slices")


def _compare(series: SeriesLedger, name: str, expected: int, formula: str, received: int | None = None) -> Finding:
    received = series.images if received is None else received
    numbers: dict[str, float] = {"received": received, "expected": expected}
    if received >= expected:
        return Finding(
            JUDGE, "series", series.uid, "met", f"{received} of {expected} images of {name} came: {formula}.", numbers
        )
    sentence = f"{expected - received} of {expected} images of {name} missing: {formula}."
    return Finding(JUDGE, "series", series.uid, "not_met", sentence, numbers)


def _disagree(series: SeriesLedger, name: str, seen: str, promised: str) -> Finding:
    return _unknown(series, f"{name.capitalize()}: {seen} came, the header promises {promised}; they disagree.")


def _unknown(series: SeriesLedger, sentence: str) -> Finding:
    return Finding(JUDGE, "series", series.uid, "unknown", sentence, {"received": series.images})


def _count(series: SeriesLedger, key: str) -> int | None:
    value = series.facts.get(key)
    return int(value) if isinstance(value, int | float) and value > 0 else None
