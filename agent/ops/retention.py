"""Which studies may be deleted.

Job: the one rule of the clean-up. Place: asked by the study's actor when the janitor calls; pure. It must
never say yes to a study that was not Delivered, that holds images which came after delivery, or that a person holds or
has still to look at.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.config import RetentionSettings
from agent.study import StudyFlags, StudyStatus

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class RetentionCandidate:
    """What the rule needs to know of a study."""

    study_id: str
    status: StudyStatus
    status_at: float
    flags: StudyFlags
    has_late_images: bool = False


def may_delete(study: RetentionCandidate, settings: RetentionSettings, now: float) -> bool:
    """Say whether the objects of `study` may be deleted.

    Parameters
    ----------
    study : RetentionCandidate
        The study as it stands.
    settings : RetentionSettings
        How long delivered studies are kept; unset means for ever.
    now : float
        Seconds since the epoch.
    """
    if settings.delivered_days is None or study.status is not StudyStatus.DELIVERED:
        return False
    flags = study.flags
    if study.has_late_images:  # they were acknowledged and nobody else has them
        return False
    if flags.held or flags.needs_review or flags.conflict or flags.quarantined or flags.deleted:
        return False
    age_s = now - study.status_at  # a clock that went back makes it negative: then nothing is deleted
    return age_s > settings.delivered_days * DAY_S
