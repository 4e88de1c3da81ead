"""Judge: is an association that brought images of the study still open?

Place: called by ``decision``; pure. It is the gate: while it says *not met* nothing else is asked. It must never
hold a study for an association that has gone silent: one without traffic for ``association_quiet_s`` no longer
counts.
"""

from __future__ import annotations

from agent.completeness.evidence import Finding, StudyEvidence

JUDGE = "open_association"


def judge(evidence: StudyEvidence) -> Finding:
    """Say whether the sender may still be sending; this judge is never in doubt."""
    limit = evidence.settings.association_quiet_s
    busy = [a for a in evidence.open_associations if a.last_traffic_age_s < limit]
    silent = len(evidence.open_associations) - len(busy)
    numbers: dict[str, float] = {"open": len(busy), "silent": silent}
    if busy:
        numbers["released_in_s"] = max(limit - a.last_traffic_age_s for a in busy)
        what = (
            "1 association that brought images is"
            if len(busy) == 1
            else f"{len(busy)} associations that brought images are"
        )
        return Finding(JUDGE, "gate", None, "not_met", f"{what} still open.", numbers)
    if silent:
        what = "1 open association has" if silent == 1 else f"{silent} open associations have"
        sentence = f"{what} been without traffic for {limit:g} s and no longer counts."
        return Finding(JUDGE, "gate", None, "met", sentence, numbers)
    return Finding(JUDGE, "gate", None, "met", "No association that brought images is open.", numbers)
