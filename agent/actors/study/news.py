"""What people are told of a study.

Job: say which steps are news, plan them in the transaction of the step, and put them into words. Place: used by the
study's actor, by the registry's view of the rows and by the notifier. No word of it may identify a patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agent.config import NotifySettings
from agent.ops.notifications import Event, Notice
from agent.store import notices
from agent.store.studies import StudyRow
from agent.study import LOOKS, StudyStatus

EVENTS: dict[StudyStatus, Event] = {
    StudyStatus.QC_PASSED: "qc_passed",
    StudyStatus.FAILED: "failed",
    StudyStatus.DELIVERED: "delivered",
}


@dataclass(frozen=True, slots=True)
class StudyNews:
    """A study reached a status that people are told about."""

    study_id: str
    revision: int
    status: StudyStatus
    since: float

    @property
    def key(self) -> str:
        """What makes it the same news again; `read_key` undoes it."""
        return f"study:{self.study_id}:{self.revision}:{self.status.value}:{self.since!r}"

    def notice(self, text: str) -> Notice:
        """Put it into words."""
        word = LOOKS[self.status].word
        body = f"Study {self.study_id}, revision {self.revision}, is {word}. {text}".strip()
        return Notice(EVENTS[self.status], self.key, f"Study {self.study_id}: {word}", body)


def read_key(key: str) -> StudyNews | None:
    """Return the news of a key; None when it tells of something else."""
    kind, *parts = key.split(":")
    if kind != "study":
        return None
    study_id, revision, status, since = parts
    return StudyNews(study_id, int(revision), StudyStatus(status), float(since))


def news_of(row: StudyRow) -> StudyNews | None:
    """Return what is told of a study that has just reached its status; None when that is no news."""
    return StudyNews(row.id, row.revision, row.status, row.status_at) if row.status in EVENTS else None


def plan(row: StudyRow, channels: Sequence[NotifySettings]) -> None:
    """Plan the news of a step, if any channel wants it; inside the operation that takes the step."""
    news = news_of(row)
    if news is not None and any(EVENTS[news.status] in channel.on for channel in channels):
        notices.plan(news.key, row.status_at)
