"""What a check is given, and how it writes a result.

Job: hold the series, its rule and the profile together; build results with their advice and default severity. Place:
made by ``verdict``, handed to every check of a series.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from agent.qc.checks.advice import advise
from agent.qc.checks.bands import Band, Result
from agent.qc.findings import Check
from agent.qc.profiles.model import Missing, Profile, SequenceRule, Severity
from agent.qc.series import Series


@dataclass(frozen=True, slots=True)
class Scope:
    """One series under one rule."""

    profile: Profile
    rule: SequenceRule
    series: Series

    @property
    def prefix(self) -> str:
        """First part of the ids of its checks."""
        return self.rule.name.lower().replace(" ", "_")

    def passed(
        self, key: str, group: str, title: str, *, measured: float | str | None = None, limit: str = ""
    ) -> Check:
        """Return a check that passed."""
        return self._of(Check(self._id(key), group, title, "pass", measured, limit))

    def failed(  # noqa: PLR0913 - named ones
        self, key: str, group: str, title: str, detail: str, *, measured: float | str | None = None,
        limit: str = "", severity: Severity = "major",
    ) -> Check:  # fmt: skip
        """Return a check that failed, with its advice."""
        found = Check(self._id(key), group, title, "fail", measured, limit, severity=severity, share=0.0, detail=detail)
        return self._advised(found, key)

    def warned(self, key: str, group: str, title: str, detail: str, *, measured: float | str | None = None) -> Check:
        """Return a check that gave a warning."""
        found = Check(self._id(key), group, title, "warn", measured, severity="minor", share=0.5, detail=detail)
        return self._advised(found, key)

    def silent(self, key: str, group: str, title: str, detail: str, policy: Missing, severity: Severity) -> Check:
        """Return what the profile makes of a value that is not there."""
        result: Result = "not_applicable" if policy == "ignore" else policy
        share = 0.0 if result == "fail" else 1.0
        found = Check(self._id(key), group, title, result, None, severity=severity, share=share, detail=detail)
        return self._advised(found, key)

    def judged(  # noqa: PLR0913 - named ones
        self, key: str, group: str, title: str, value: float, band: Band, *, unit: str = "",
        severity: Severity = "major", detail: str = "",
    ) -> Check:  # fmt: skip
        """Return a value judged by its band."""
        result, share = band.judge(value)
        found = Check(
            self._id(key),
            group,
            title,
            result,
            value,
            band.words(unit),
            unit,
            severity,
            share,
            detail=detail,
            band=band,
        )
        return self._advised(found, key)

    def _advised(self, check: Check, key: str) -> Check:
        if check.result in ("pass", "not_applicable"):
            return self._of(check)
        text = advise(key, check.id, self.profile.remediation)
        for mark, words in (("title", check.title), ("limit", check.limit), ("measured", check.measured_words())):
            text = text.replace(f"{{{mark}}}", words)
        return self._of(replace(check, advice=text))

    def _of(self, check: Check) -> Check:
        return check.on(self.series.label, self.series.uid)

    def _id(self, key: str) -> str:
        return f"{self.prefix}.{key}"


def missing_policy(limit_policy: Missing | None, severity: Severity) -> Missing:
    """Return what an absent value means when the profile does not say: critical fails, the rest is undetermined."""
    if limit_policy is not None:
        return limit_policy
    return "fail" if severity == "critical" else "undetermined"
