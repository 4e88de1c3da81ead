"""Which series the profile of a study requires, told while its images still arrive.

Job: choose the profile from header facts alone and name the sequence classes it requires, so that a study whose
required series are proven complete can be judged at once. Place: called by the study's actor before it asks
``completeness``; imports no pixels. It must never name a class that a profile asks of any series: that proves nothing
about the study.
"""

from __future__ import annotations

from pathlib import Path

from agent.completeness.ledger import B0_MAX, SeriesLedger, StudyLedger
from agent.completeness.required_series import SURE
from agent.completeness.sequence_class import classify
from agent.qc.profile import StudyContent, choose_profile, load_profile


def required_classes(ledger: StudyLedger, profiles: Path | None = None, profile: str | None = None) -> tuple[str, ...]:
    """Return the sequence classes a study must hold; empty when its profile asks for none in particular.

    Parameters
    ----------
    ledger : StudyLedger
        The instances that came.
    profiles : Path, optional
        Folder of site profiles.
    profile : str, optional
        The profile that a rule names; chosen by what came when omitted.

    Raises
    ------
    ConfigError
        When a profile cannot be used.
    """
    loaded = load_profile(profile, profiles) if profile else choose_profile(_content(ledger), profiles)
    return tuple(name for name in loaded.required_classes() if name != "any")


def _content(ledger: StudyLedger) -> StudyContent:
    images = [s for s in ledger.series.values() if s.images]
    classes = {answer.sequence_class for s in images if (answer := classify(s.traits())).confidence >= SURE}
    modalities = [str(s.facts.get("modality") or "") for s in images]
    parts = {str(s.facts.get("body_part") or "").upper().replace(" ", "") for s in images}
    return StudyContent(
        modality=max(set(modalities), key=modalities.count) if modalities else "",
        classes=frozenset(classes),
        body_parts=frozenset(part for part in parts if part),
        directions=max((_directions(s) for s in images), default=0),
        fov_mm=min((fov for s in images if (fov := _field_of_view(s)) is not None), default=None),
    )


def _directions(series: SeriesLedger) -> int:
    return sum(1 for b, direction in series.volumes if b > B0_MAX and direction)


def _field_of_view(series: SeriesLedger) -> float | None:
    spacing, rows = series.facts.get("pixel_spacing"), series.facts.get("rows")
    if not isinstance(spacing, tuple | list) or not isinstance(rows, int):
        return None
    return float(spacing[0]) * rows
