"""Judge: are the series that the profile requires present?

Place: called by ``decision``; pure. With proof of each required series it is the study proof that lets a study turn
Stable at once. It must never guess: without a profile, or with series whose class the headers leave open, it says
*unknown*.
"""

from __future__ import annotations

from collections.abc import Iterable

from agent.completeness.evidence import Finding, StudyEvidence
from agent.completeness.ledger import StudyLedger
from agent.completeness.sequence_class import classify

JUDGE = "required_series"
SURE = 0.6


def judge(evidence: StudyEvidence, ledger: StudyLedger, proven: Iterable[str]) -> Finding:
    """Look for each required class.

    Parameters
    ----------
    evidence : StudyEvidence
        With the classes the profile requires.
    ledger : StudyLedger
        The series.
    proven : iterable of str
        Series Instance UIDs that have proof of their own.
    """
    if not evidence.required:
        return Finding(JUDGE, "study", None, "unknown", "No profile says yet which series the study must have.")
    found = classes_of(ledger)
    missing = [name for name in evidence.required if name not in found]
    numbers: dict[str, float] = {"required": len(evidence.required), "missing": len(missing)}
    if missing:
        names = ", ".join(missing)
        sentence = f"{len(missing)} of {len(evidence.required)} required series missing: {names}."
        return Finding(JUDGE, "study", None, "not_met", sentence, numbers)
    proof = set(proven)
    unproven = [name for name in evidence.required if not (found[name] & proof)]
    numbers["unproven"] = len(unproven)
    if unproven:
        sentence = f"All required series are present; nothing proves that {', '.join(unproven)} is complete."
        return Finding(JUDGE, "study", None, "met", sentence, numbers)
    return Finding(JUDGE, "study", None, "met", "All required series are present, each proven complete.", numbers)


def classes_of(ledger: StudyLedger) -> dict[str, set[str]]:
    """Return the series of each sequence class, of which the headers leave no doubt."""
    found: dict[str, set[str]] = {}
    for series in ledger.series.values():
        if not series.images:
            continue
        answer = classify(series.traits())
        if answer.confidence >= SURE:
            found.setdefault(answer.sequence_class, set()).add(series.uid)
        found.setdefault("any", set()).add(series.uid)
    return found
