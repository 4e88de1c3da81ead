"""Which rule of a profile a series falls under.

Job: match each graded series with the first rule for its class. Place: called by ``verdict`` and by ``agent
profile``. It must never match by UID or file name; a description only where a profile asks for it in so many words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from agent.qc.profile import StudyContent
from agent.qc.profiles.model import Match, Profile, SequenceRule
from agent.qc.series import Series


@dataclass(frozen=True, slots=True)
class Assignment:
    """A series and its rule."""

    series: Series
    rule: SequenceRule


def assign(profile: Profile, series: Sequence[Series]) -> list[Assignment]:
    """Return the graded series that fall under a rule, in their order."""
    found: list[Assignment] = []
    for one in series:
        if not one.is_graded:
            continue
        rule = next((r for r in profile.sequence if _matches(r, one)), None)
        if rule is not None:
            found.append(Assignment(one, rule))
    return found


def _matches(rule: SequenceRule, series: Series) -> bool:
    if rule.sequence_class not in ("any", series.classification.sequence_class):
        return False
    return not rule.match or any(_fits(match, series) for match in rule.match)


def _fits(match: Match, series: Series) -> bool:
    if match.tag is not None:
        headers = series.images[0].headers
        text = headers.series_description if match.tag == "SeriesDescription" else headers.protocol_name
        return bool(re.search(match.regex, text))
    return series.classification.confidence >= match.min_confidence


def content_of(series: Sequence[Series]) -> StudyContent:
    """Return what a study holds, for the choice of a profile."""
    graded = [s for s in series if s.is_graded]
    modalities = [s.modality for s in graded]
    modality = max(set(modalities), key=modalities.count) if modalities else ""
    fields = [
        max(f.rows * f.pixel_spacing[0], f.columns * f.pixel_spacing[1])
        for s in graded
        for f in (s.slices[0].frame,)
        if f.pixel_spacing is not None
    ]
    parts = {s.images[0].headers.body_part.upper().replace(" ", "") for s in graded}
    return StudyContent(
        modality=modality,
        classes=frozenset(s.classification.sequence_class for s in graded),
        body_parts=frozenset(part for part in parts if part),
        directions=max((s.directions for s in graded), default=0),
        fov_mm=min(fields) if fields else None,
    )
