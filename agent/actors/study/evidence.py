"""From the rows of a study to what the judges look at, and back.

Job: keep the instances of one study folded, add what is new, and turn findings into what rows hold. Place: owned by one
study's actor. It must never decide anything: that is ``completeness``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from agent.actors.traffic import StudyAges
from agent.completeness import (
    Decision,
    Finding,
    InstanceEvidence,
    OpenAssociation,
    StudyEvidence,
    StudyLedger,
)
from agent.config import StudySettings
from agent.store.studies import InstanceRow


class EvidenceBook:
    """The instances of a study, folded into counts."""

    def __init__(self) -> None:
        self._ledger = StudyLedger()
        self._last_id = 0

    def add(self, rows: Iterable[InstanceRow]) -> None:
        """Count rows that are not counted yet."""
        for row in rows:
            if row.id <= self._last_id:
                continue
            self._last_id = row.id
            self._ledger.add(
                InstanceEvidence(row.series_uid, row.sop_uid, row.sop_class_uid, row.facts, row.received_at)
            )

    def evidence(self, ages: StudyAges, settings: StudySettings) -> StudyEvidence:
        """Return what is known at this moment."""
        return StudyEvidence(
            instances=(),
            open_associations=tuple(OpenAssociation(a.id, a.last_traffic_age_s) for a in ages.associations),
            age_of_last_arrival_s=ages.last_arrival_s,
            settings=settings,
            series_ages_s=ages.series_s,
            first_arrival_age_s=ages.first_arrival_s,
            ledger=self._ledger,
        )


def findings_json(findings: Iterable[Finding]) -> str:
    """Return findings as the study's row keeps them."""
    return json.dumps([finding_record(finding) for finding in findings], separators=(",", ":"))


def finding_record(finding: Finding) -> dict[str, object]:
    """Return one finding as rows and history keep it."""
    return {
        "judge": finding.judge,
        "scope": finding.scope,
        "series_uid": finding.series_uid,
        "answer": finding.answer,
        "sentence": finding.sentence,
        "numbers": dict(finding.numbers),
    }


def decision_detail(decision: Decision) -> dict[str, object]:
    """Return a decision with all its evidence, for the history."""
    return {
        "because": decision.because,
        "findings": [finding_record(f) for f in decision.findings],
        "series_expected": decision.series_expected,
        "instances_expected": decision.instances_expected,
    }


def unmet_sentences(completeness: str) -> tuple[str, ...]:
    """Return what judges found missing, from a row's ``completeness_json``."""
    return tuple(f["sentence"] for f in json.loads(completeness) if f["answer"] == "not_met" and f["scope"] != "gate")
