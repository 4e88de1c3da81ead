"""What the judges look at and what they answer.

Job: the values that go into and come out of a decision about completeness. Place: built by the study's actor from
rows and open associations, read by every judge. Nothing here reads a row, a clock or a file, and no value
identifies a patient.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from agent.completeness.ledger import InstanceEvidence, SeriesLedger, StudyLedger
from agent.config import StudySettings

Answer = Literal["met", "not_met", "unknown"]
Scope = Literal["gate", "study", "series", "doubt"]
Action = Literal["wait", "stable", "stable_incomplete", "hold"]


@dataclass(frozen=True, slots=True)
class OpenAssociation:
    """An association that is open and brought an image of the study."""

    id: str
    last_traffic_age_s: float


@dataclass(frozen=True, slots=True)
class DiffusionNeed:
    """What a profile asks of the diffusion series, in volumes."""

    shells: tuple[float, ...] = ()
    b0_min: int = 0
    directions_min: int = 0
    shell_tolerance: float = 0.05


@dataclass(frozen=True, slots=True)
class StudyEvidence:
    """Everything known about a study at one moment. Ages are differences of the monotonic clock.

    Attributes
    ----------
    instances : tuple of InstanceEvidence
        All active instances, in any order. May be left empty when `ledger` is given.
    series_ages_s : mapping
        Seconds since the last image of each series; a missing series counts with the age of the study.
    required : tuple of str
        Sequence classes the profile requires; empty while no profile is known.
    ledger : StudyLedger, optional
        The same instances already folded; spares folding thousands again after each batch.
    """

    instances: tuple[InstanceEvidence, ...]
    open_associations: tuple[OpenAssociation, ...]
    age_of_last_arrival_s: float
    settings: StudySettings
    series_ages_s: Mapping[str, float] = field(default_factory=dict)
    first_arrival_age_s: float = 0.0
    required: tuple[str, ...] = ()
    diffusion: DiffusionNeed | None = None
    ledger: StudyLedger | None = None

    def folded(self) -> StudyLedger:
        """Return the instances by series."""
        return self.ledger if self.ledger is not None else StudyLedger.of(self.instances)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one judge says about the study or one series."""

    judge: str
    scope: Scope
    series_uid: str | None
    answer: Answer
    sentence: str
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with the study now, why, and when to look again without a new event."""

    action: Action
    because: str
    look_again_in_s: float | None
    findings: tuple[Finding, ...]
    series_expected: int | None
    instances_expected: int | None


def series_name(series: SeriesLedger) -> str:
    """Return the name of a series in sentences: its number, which identifies nobody."""
    return f"series {series.number}" if series.number is not None else "a series without number"
