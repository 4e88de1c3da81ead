"""Series of one study that must agree with each other (G7).

Place: called by ``verdict`` with all matched series. It must never compare a series with itself or with one that is
not there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agent.qc.checks.advice import advise
from agent.qc.checks.parameters import title_of, values_of
from agent.qc.findings import Check
from agent.qc.matching import Assignment
from agent.qc.profiles.model import Profile
from agent.qc.series import Series


def check(profile: Profile, assignments: Sequence[Assignment]) -> Iterator[Check]:
    """Compare the named parameters of the named series."""
    for rule in profile.vertical:
        chosen = [next((a.series for a in assignments if a.rule.name == name), None) for name in rule.series]
        present = [s for s in chosen if s is not None]
        for parameter in rule.same:
            check_id = f"{'_'.join(rule.series).lower()}.{parameter}"
            title = f"{title_of(parameter)} the same in {' and '.join(rule.series)}"
            if len(present) < len(rule.series):
                yield Check(check_id, "protocol", title, "not_applicable", severity=rule.severity)
                continue
            found = {_shown(series, parameter) for series in present}
            if len(found) > 1:
                advice = advise("vertical", check_id, profile.remediation)
                yield Check(
                    check_id, "protocol", title, "warn", "; ".join(sorted(found)), "the same", severity=rule.severity,
                    share=0.0, advice=advice,
                )  # fmt: skip
            else:
                yield Check(check_id, "protocol", title, "pass", "the same", "the same", severity=rule.severity)


def _shown(series: Series, parameter: str) -> str:
    if parameter == "FrameOfReferenceUID":
        return series.images[0].headers.frame_of_reference_uid
    return ", ".join(str(value) for value in sorted(values_of(series, parameter), key=str))
