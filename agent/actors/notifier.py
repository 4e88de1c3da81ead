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
        self._sender = ThreadPoolExecutor(1, "notify")

    def begin(self) -> None:
        """Nothing to take up."""

    def receive(self, message: NotifierMessage) -> None:
        """Hand news over."""
        match message:
            case Begin():
                pass
            case StudyReached() | AlarmRaised():
                pass
            case _ as never:
                assert_never(never)

    def on_stop(self) -> None:
        """Give up what waits for a slow channel."""
        self._sender.shutdown(wait=False, cancel_futures=True)
