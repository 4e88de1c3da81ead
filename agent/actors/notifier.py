"""News for people.

Job: hand what people are told about to the channels of the configuration, each thing once. Place: told by studies and
by alarms; sends in a thread of its own through ``ops.notifications``. It must never make the agent wait for a mail
server, and no text may identify a patient.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import assert_never

from agent.actors.base import BaseActor
from agent.actors.surroundings import Surroundings
from agent.messages import AlarmRaised, Begin, NotifierMessage, StudyReached
from agent.ops.notifications import Event, Notice, NoticeOutcome, Notifications
from agent.study import LOOKS, StudyStatus

_EVENTS: dict[StudyStatus, Event] = {
    StudyStatus.QC_PASSED: "qc_passed",
    StudyStatus.FAILED: "failed",
    StudyStatus.DELIVERED: "delivered",
}


class Notifier(BaseActor[NotifierMessage]):
    """Sends notifications.

    Parameters
    ----------
    around : Surroundings
        What every actor is given.
    """

    kind = "notifier"

    def __init__(self, around: Surroundings, on_crash: Callable[[], None]) -> None:
        super().__init__(on_crash)
        self._around = around
        self._channels = Notifications(around.settings.notify)
        self._sender = ThreadPoolExecutor(1, "notify")

    def begin(self) -> None:
        """Nothing to take up."""

    def receive(self, message: NotifierMessage) -> None:
        """Hand news over."""
        match message:
            case Begin():
                pass
            case StudyReached(study_id, revision, status, text):
                word = LOOKS[status].word
                self._send(
                    _EVENTS[status],
                    f"{study_id}:{revision}:{status.value}:{text}",
                    f"Study {study_id}: {word}",
                    f"Study {study_id}, revision {revision}, is {word}. {text}".strip(),
                )
            case AlarmRaised(code, text, hint):
                key = f"alarm:{code}:{int(self._around.clock.timestamp())}"
                self._send("alarm", key, f"Alarm: {text}", f"{text} {hint}".strip())
            case _ as never:
                assert_never(never)

    def on_stop(self) -> None:
        """Give up what waits for a slow channel."""
        self._sender.shutdown(wait=False, cancel_futures=True)

    def _send(self, event: Event, key: str, subject: str, body: str) -> None:
        if self._channels.wants(event):
            self._sender.submit(self._deliver, Notice(event, key, subject, body))

    def _deliver(self, notice: Notice) -> None:
        """Send one; in the sender's thread."""
        try:
            outcome = self._channels.notify(notice)
        except Exception:
            self.log.exception("notification_failed", kind=notice.event)
            return
        if outcome in (NoticeOutcome.FAILED, NoticeOutcome.PARTLY):
            self.log.warning("notification_not_taken", kind=notice.event, outcome=outcome.value)
