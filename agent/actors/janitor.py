"""Clean-up of what was delivered.

Job: find studies that were delivered longer ago than the retention allows and tell them; give the space of deleted
studies back. Place: woken by the timer when a retention is set, and by studies that were deleted. It must never
delete anything itself but segment files in which nothing readable is left.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from agent.actors.base import BaseActor
from agent.actors.surroundings import Surroundings
from agent.errors import StorageError
from agent.messages import Begin, CleanUp, JanitorMessage, RetentionOver
from agent.ops.retention import DAY_S
from agent.store.studies import studies_past_retention, unlink_dead

RETRY_S = 30.0
BATCH = 200


class Janitor(BaseActor[JanitorMessage]):
    """Deletes what may go.

    Parameters
    ----------
    around : Surroundings
        What every actor is given.
    """

    kind = "janitor"

    def __init__(self, around: Surroundings, on_crash: Callable[[], None]) -> None:
        super().__init__(on_crash)
        self._around = around

    def begin(self) -> None:
        """Nothing to take up: the timer calls."""

    def receive(self, message: JanitorMessage) -> None:
        """Look for what may go."""
        match message:
            case Begin():
                pass
            case CleanUp():
                self._tell_old()
                self._give_space_back()
            case _ as never:
                assert_never(never)

    def _tell_old(self) -> None:
        settings, now = self._around.settings.retention, self._around.clock.timestamp()
        if settings.delivered_days is None:
            return
        before = now - settings.delivered_days * DAY_S
        for study_id in self._around.read(lambda: studies_past_retention(before, BATCH)):
            self._around.post.study(study_id, RetentionOver())  # its actor asks the rule again

    def _give_space_back(self) -> None:
        try:
            gone = self._around.read(lambda: unlink_dead(self._around.writer, self._around.segments))
        except StorageError as error:  # a reader held the log: later
            self.log.info("clean_up_later", code=error.code)
            self._around.timer.after(RETRY_S, lambda: self._around.post.janitor(CleanUp()))
            return
        if gone:
            self.log.info("segments_unlinked", count=len(gone))
