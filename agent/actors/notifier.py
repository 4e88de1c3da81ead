"""News for people.

Job: hand what people are told about to the channels of the configuration, each thing once, also across restarts.
Place: told by studies and by alarms; sends in a thread of its own through ``ops.notifications``; rows hold what is
still to be told. What was on its way when the agent died is told again: twice is better than never. It must never make
the agent wait for a mail server, and no text may identify a patient.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import assert_never

from agent.actors.base import BaseActor
from agent.actors.study.news import StudyNews, read_key
from agent.actors.surroundings import Surroundings
from agent.messages import AlarmRaised, Begin, NotifierMessage, StudyReached
from agent.ops.notifications import Notice, NoticeOutcome, Notifications
from agent.store import alarms, notices, studies

TELL_AGAIN_S = 60.0
OLD_NEWS_S = 86_400.0


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
        self._channels = Notifications(around.settings.notify, self._claim)
        self._sender = ThreadPoolExecutor(1, "notify")

    def begin(self) -> None:
        """Tell what an earlier life has left."""
        self._tell_waiting()

    def receive(self, message: NotifierMessage) -> None:
        """Hand news over."""
        match message:
            case Begin():
                self._tell_waiting()
            case StudyReached(study_id, revision, status, since, text):
                self._send(StudyNews(study_id, revision, status, since).notice(text))
            case AlarmRaised():
                self._tell_alarm(message)
            case _ as never:
                assert_never(never)

    def on_stop(self) -> None:
        """Leave what waits for a slow channel to the next life."""
        self._sender.shutdown(wait=False, cancel_futures=True)

    def _tell_alarm(self, alarm: AlarmRaised) -> None:
        if self._channels.wants("alarm"):
            at = self._around.clock.timestamp()
            key = f"alarm:{alarm.code}:{at!r}"
            self._around.write(lambda: notices.plan(key, at))
            self._send(_alarm_notice(key, alarm.text, alarm.hint))

    def _tell_waiting(self) -> None:
        """Tell what waits in the rows; what has lost its object meanwhile is let go."""
        since = self._around.clock.timestamp() - OLD_NEWS_S
        for row in self._around.read(lambda: notices.read_waiting(since)):
            notice = self._around.read(lambda key=row.key: _in_words(key))  # type: ignore[misc]
            if notice is None:
                self._around.write(lambda key=row.key: notices.finish(key, "overtaken"))  # type: ignore[misc]
            else:
                self._send(notice)

    def _send(self, notice: Notice) -> None:
        if self._channels.wants(notice.event):
            self._sender.submit(self._deliver, notice)

    # -- in the sender's thread -----------------------------------------------------------------------------------

    def _claim(self, key: str) -> bool:
        return self._around.write(lambda: notices.claim(key))

    def _deliver(self, notice: Notice) -> None:
        try:
            outcome = self._channels.notify(notice)
        except Exception:
            self.log.exception("notification_failed", kind=notice.event)
            outcome = NoticeOutcome.FAILED
        if outcome in (NoticeOutcome.FAILED, NoticeOutcome.PARTLY):
            self.log.warning("notification_not_taken", kind=notice.event, outcome=outcome.value)
        if outcome is NoticeOutcome.FAILED:
            self._around.write(lambda: notices.finish(notice.key, notices.WAITING))
            self._around.timer.after(TELL_AGAIN_S, lambda: self._around.post.notifier(Begin()))
        elif outcome in (NoticeOutcome.SENT, NoticeOutcome.PARTLY):
            self._around.write(lambda: notices.finish(notice.key, outcome.value))


def _in_words(key: str) -> Notice | None:
    """Put a row's news into words again; None when there is nothing to tell any more."""
    news = read_key(key)
    if news is not None:
        row = studies.read_study(news.study_id)
        if row is None or row.deleted:
            return None
        is_still_so = (row.revision, row.status) == (news.revision, news.status)
        return news.notice((row.failure_text or "") if is_still_so else "")
    code = key.split(":")[1]
    alarm = next((a for a in alarms.read_open() if a.code == code), None)
    return None if alarm is None else _alarm_notice(key, alarm.text, alarm.hint)


def _alarm_notice(key: str, text: str, hint: str) -> Notice:
    return Notice("alarm", key, f"Alarm: {text}", f"{text} {hint}".strip())
