"""Judge: are the slice positions even, and does every position have the same number of volumes?

Place: called by ``decision`` for each series; pure. It can only raise a doubt: slices missing at an end of the
stack, or whole volumes that never came, leave an even grid. It must never doubt what is irregular by design:
localizers, single images, objects that hold many slices, key images and reports.
"""

from __future__ import annotations

from agent.completeness.evidence import Finding, series_name
from agent.completeness.grid import SliceGrid
from agent.completeness.ledger import SeriesLedger, merge_stacks

JUDGE = "slice_grid"
FEWEST_POSITIONS = 3


def judge(series: SeriesLedger) -> Finding:
    """Say whether the grid of a series has holes."""
    name = series_name(series)
    reason = _why_unknown(series)
    grid = series.grid()
    if reason or grid is None or grid.spacing_mm is None:
        return _unknown(series, reason or f"The slices of {name} are not one stack.")
    numbers = _numbers(grid)
    if grid.images_missing and (grid.missing_positions or grid.is_even):
        missing, expected = grid.images_missing, grid.images_expected
        sentence = f"{missing} of {expected} slices of {name} missing"
        if grid.missing_positions:
            sentence += f" ({_places(grid.missing_positions)} along the stack empty)"
        return Finding(JUDGE, "doubt", series.uid, "not_met", sentence + ".", numbers)
    if not grid.is_even:
        return _unknown(
            series, f"The slices of {name} are spaced unevenly by design or by fault; no count follows from them."
        )
    volumes = f", {grid.volumes} images at each" if grid.volumes > 1 else ""
    places = len(grid.positions)
    sentence = f"The {places} slice positions of {name} are {grid.spacing_mm:.2f} mm apart without a hole{volumes}."
    return Finding(JUDGE, "doubt", series.uid, "met", sentence, numbers)


def _why_unknown(series: SeriesLedger) -> str:
    name = series_name(series)
    if not series.images:
        return f"{name.capitalize()} holds no original images."
    if not series.is_one_image_an_object:
        return f"The objects of {name} hold several slices each."
    stacks = merge_stacks(series.stacks)
    if len(stacks) > 1 or "LOCALIZER" in series.traits().image_type:
        return f"{name.capitalize()} is a localizer or has slices in {max(1, len(stacks))} orientations."
    positions = len(stacks[0]) if stacks else 0
    if positions < FEWEST_POSITIONS:
        return f"{name.capitalize()} has {positions} slice position{'s' * (positions != 1)}: too few to show a hole."
    return ""


def _numbers(grid: SliceGrid) -> dict[str, float]:
    return {
        "positions": len(grid.positions),
        "missing_positions": grid.missing_positions,
        "volumes": grid.volumes,
        "received": sum(grid.counts),
        "expected": grid.images_expected,
        "missing": grid.images_missing,
        "spacing_mm": round(grid.spacing_mm or 0.0, 4),
    }


def _places(count: int) -> str:
    return f"{count} place{'s' * (count != 1)}"


def _unknown(series: SeriesLedger, sentence: str) -> Finding:
    return Finding(JUDGE, "doubt", series.uid, "unknown", sentence)
