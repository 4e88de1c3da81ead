"""Results of checks, and how a judged study is written down.

Job: the values that checks return and the report consists of, and their JSON. Place: made by ``checks``, weighed by
``verdict``, rendered by ``rendering``. It must never hold a name, an identifier, a date of birth or a free text of
the images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

from agent.qc.checks.bands import Band, Result, number
from agent.qc.profiles.model import Severity

Verdict = Literal["pass", "fail", "review"]

GROUPS = {
    "required": "Required sequences",
    "integrity": "Format and integrity",
    "metadata": "Metadata completeness",
    "geometry": "Resolution, spacing and dimensions",
    "protocol": "Sequence parameters",
    "diffusion": "Diffusion encoding",
    "coverage": "Anatomical coverage",
    "contrast": "Contrast and signal to noise",
    "motion": "Motion and artefacts",
    "image": "Image quality",
}


@dataclass(frozen=True, slots=True)
class Check:
    """One result.

    Attributes
    ----------
    id : str
        Stable: rule and parameter (``dwi.EchoTime``).
    measured : float, str or None
        What was found.
    limit : str
        The limit in words; `band` holds its edges for the range bar.
    share : float
        Share of its weight that the check earns: 1 pass, 0 fail.
    advice : str
        What to do about it, for whoever is at the scanner or the PACS; empty when it passed.
    """

    id: str
    group: str
    title: str
    result: Result
    measured: float | str | None = None
    limit: str = ""
    unit: str = ""
    severity: Severity = "major"
    share: float = 1.0
    weight: float | None = None
    advice: str = ""
    detail: str = ""
    band: Band | None = None
    series: str = ""
    series_uid: str = ""
    uncalibrated: bool = False
    required_missing: bool = False

    @property
    def is_graded(self) -> bool:
        """Whether it enters the score."""
        return self.result in ("pass", "warn", "fail")

    def measured_words(self) -> str:
        """Return the measured value as staff read it."""
        if self.measured is None:
            return "–"
        text = number(self.measured) if isinstance(self.measured, int | float) else self.measured
        if not self.unit or not isinstance(self.measured, int | float):
            return text
        return f"{text}{'' if self.unit in ('%', '°') else ' '}{self.unit}"

    def on(self, series: str, uid: str) -> Check:
        """Return the same check with the series it belongs to."""
        return replace(self, series=series, series_uid=uid)

    def to_record(self) -> dict[str, object]:
        """Plain JSON types, without NaN."""
        measured = self.measured
        if isinstance(measured, float):
            measured = round(measured, 6) if math.isfinite(measured) else None
        edges = None
        if self.band is not None:
            b = self.band
            edges = {"low": b.low, "high": b.high, "fail_low": b.fail_low, "fail_high": b.fail_high}
        return {
            "id": self.id, "group": GROUPS[self.group], "group_id": self.group, "title": self.title,
            "result": self.result, "measured": measured, "measured_text": self.measured_words(), "limit": self.limit,
            "limits": edges, "unit": self.unit, "severity": self.severity, "advice": self.advice,
            "detail": self.detail, "series": self.series, "uncalibrated": self.uncalibrated,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class SeriesSummary:
    """One series in the report; nothing that a person typed."""

    label: str
    number: int | None
    sequence_class: str
    confidence: float
    evidence: tuple[str, ...]
    graded: bool
    rule: str
    objects: int
    slices: int
    positions: int
    volumes: int
    set_aside: tuple[str, ...]
    score: float | None
    picked: bool = True
    facts: tuple[tuple[str, str], ...] = ()

    def to_record(self) -> dict[str, object]:
        """Plain JSON types."""
        return {
            "label": self.label, "number": self.number, "class": self.sequence_class, "confidence": self.confidence,
            "evidence": list(self.evidence), "graded": self.graded, "rule": self.rule, "objects": self.objects,
            "slices": self.slices, "positions": self.positions, "volumes": self.volumes,
            "set_aside": list(self.set_aside), "score": self.score, "picked": self.picked,
            "facts": [list(pair) for pair in self.facts],
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class QcReport:
    """A judged study."""

    verdict: Verdict
    score: float | None
    profile: str
    profile_version: str
    profile_hash: str
    profile_title: str
    pass_score: float
    evidence_percent: float
    because: str
    reasons: tuple[str, ...]
    recommendations: tuple[str, ...]
    series: tuple[SeriesSummary, ...]
    checks: tuple[Check, ...]
    incomplete: tuple[str, ...] = ()
    measure_code: str = ""
    metadata: tuple[tuple[str, str], ...] = field(default=())

    def to_record(self) -> dict[str, object]:
        """Return the body of ``GET /api/v1/studies/{id}/qc``."""
        graded = [c.to_record() for c in self.checks if c.result != "not_applicable"]
        return {
            "verdict": self.verdict, "score": self.score, "profile": self.profile,
            "series": [s.to_record() for s in self.series], "checks": graded,
            "profile_version": self.profile_version, "profile_hash": self.profile_hash,
            "profile_title": self.profile_title, "pass_score": self.pass_score,
            "evidence_percent": self.evidence_percent, "because": self.because, "reasons": list(self.reasons),
            "recommendations": list(self.recommendations), "incomplete": list(self.incomplete),
            "not_applicable": [c.to_record() for c in self.checks if c.result == "not_applicable"],
            "measure_code": self.measure_code, "metadata": [list(pair) for pair in self.metadata],
        }  # fmt: skip
