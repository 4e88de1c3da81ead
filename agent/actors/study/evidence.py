"""From the rows of a study to what the judges look at, and back.

Job: keep the instances of one study folded, add what is new, and turn findings into what rows hold. Place: owned by one
study's actor. It must never decide anything: that is ``completeness``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

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
from agent.errors import ConfigError
from agent.qc.arrival import required_classes
from agent.store.studies import InstanceRow


class EvidenceBook:
    """The instances of a study, folded into counts.

    Parameters
    ----------
    profiles : Path, optional
        Folder of the site's quality profiles, which say what a study must hold.
    """

    def __init__(self, profiles: Path | None = None) -> None:
        self._profiles = profiles
        self._ledger = StudyLedger()
        self._last_id = 0
        self._required: tuple[str, ...] | None = None

    def add(self, rows: Iterable[InstanceRow]) -> None:
        """Count rows that are not counted yet."""
        for row in rows:
            if row.id <= self._last_id:
                continue
            self._last_id = row.id
            self._required = None
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
            required=self._required_classes(),
            ledger=self._ledger,
        )

    def _required_classes(self) -> tuple[str, ...]:
        """Return what the profile requires; asked anew only when something came, because profiles are files."""
        if self._required is None:
            try:
                self._required = required_classes(self._ledger, self._profiles)
            except ConfigError:  # a profile that cannot be used proves nothing; quality control says what is wrong
                self._required = ()
        return self._required


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
