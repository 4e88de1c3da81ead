"""Judge: does every diffusion volume have every slice, and are there as many volumes as the profile asks?

Place: called by ``decision`` for each series; pure. It can only raise a doubt: that all volumes seen are whole does
not tell that none is to come. It must never read a direction from anything but the headers.
"""

from __future__ import annotations

from agent.completeness.evidence import DiffusionNeed, Finding, series_name
from agent.completeness.ledger import B0_MAX, SeriesLedger

JUDGE = "diffusion"


def judge(series: SeriesLedger, need: DiffusionNeed | None = None) -> Finding:
    """Count slices of volumes and volumes of shells."""
    name = series_name(series)
    weighted = [key for key in series.volumes if key[0] > B0_MAX]
    if not weighted:
        return _unknown(series, f"{name.capitalize()} shows no diffusion weighting.")
    slices = _slices(series)
    if not slices:
        return _unknown(series, f"The slices of a volume of {name} cannot be counted from the headers.")
    counted = {key: count / slices for key, count in series.volumes.items()}
    torn = sum(1 for count in counted.values() if count != int(count))
    volumes = sum(-(-count // 1) for count in counted.values())
    numbers: dict[str, float] = {"volumes": volumes, "slices": slices, "torn": torn}
    if torn:
        sentence = f"{torn} of {volumes:.0f} diffusion volumes of {name} lack slices."
        return Finding(JUDGE, "doubt", series.uid, "not_met", sentence, numbers)
    lack = _lacking(series, counted, need)
    if lack:
        return Finding(JUDGE, "doubt", series.uid, "not_met", f"{name.capitalize()} has {lack}.", numbers)
    sentence = f"All {volumes:.0f} diffusion volumes of {name} have their {slices} slices."
    return Finding(JUDGE, "doubt", series.uid, "met", sentence, numbers)


def _slices(series: SeriesLedger) -> int:
    """Return the objects of one volume: its slices, or 1 when an object holds a whole volume."""
    if series.tiled:
        return 1
    grid = series.grid()
    return grid.slices_expected if grid is not None else 0


def _lacking(
    series: SeriesLedger, counted: dict[tuple[int, tuple[float, ...]], float], need: DiffusionNeed | None
) -> str:
    if need is None:
        return ""
    unweighted = sum(count for (b, _), count in counted.items() if b <= B0_MAX)
    if unweighted < need.b0_min:
        return f"{unweighted:.0f} of {need.b0_min} volumes without diffusion weighting"
    for shell in need.shells:
        width = max(B0_MAX, need.shell_tolerance * shell)
        directions = sum(1 for b, _ in series.volumes if b > B0_MAX and abs(b - shell) <= width)
        if shell > B0_MAX and directions < max(1, need.directions_min):
            return f"{directions} of {max(1, need.directions_min)} directions at b = {shell:.0f}"
    return ""


def _unknown(series: SeriesLedger, sentence: str) -> Finding:
    return Finding(JUDGE, "doubt", series.uid, "unknown", sentence)
