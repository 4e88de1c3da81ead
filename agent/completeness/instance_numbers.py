"""Judge: is there a hole in the instance numbers, where the vendor numbers without holes?

Place: called by ``decision`` for each series; pure. The weakest doubt: it counts only where the slice grid has
nothing to say. It must never be asked of vendors that number with holes (Philips skips what was not exported).
"""

from __future__ import annotations

from agent.completeness.evidence import Finding, series_name
from agent.completeness.ledger import SeriesLedger

JUDGE = "instance_numbers"
WITHOUT_HOLES = ("SIEMENS", "GE MEDICAL", "GE HEALTHCARE", "UIH")


def judge(series: SeriesLedger, *, grid_is_whole: bool = False) -> Finding:
    """Look for numbers that were skipped; with a whole slice grid they are told and raise no doubt."""
    name = series_name(series)
    vendor = str(series.facts.get("manufacturer") or "").upper()
    if not vendor.startswith(WITHOUT_HOLES):
        return _unknown(series, f"The vendor of {name} is not known to number images without holes.")
    if series.unnumbered or series.derived:
        return _unknown(series, f"Images of {name} share numbers or are numbered together with derived ones.")
    if len(series.instance_numbers) < 2:
        return _unknown(series, f"{name.capitalize()} has too few numbered images.")
    last = max(series.instance_numbers)
    missing = last - len([n for n in series.instance_numbers if n > 0])
    numbers: dict[str, float] = {"highest": last, "received": len(series.instance_numbers), "missing": missing}
    if missing > 0:
        sentence = f"{missing} of the instance numbers 1 to {last} of {name} missing."
        if grid_is_whole:
            return _unknown(series, f"{sentence.rstrip('.')}, but its slice grid is whole.")
        return Finding(JUDGE, "doubt", series.uid, "not_met", sentence, numbers)
    return Finding(
        JUDGE,
        "doubt",
        series.uid,
        "met",
        f"The instance numbers of {name} run from 1 to {last} without a hole.",
        numbers,
    )


def _unknown(series: SeriesLedger, sentence: str) -> Finding:
    return Finding(JUDGE, "doubt", series.uid, "unknown", sentence)
