"""Addresses of the actors of the house.

Job: know where each kind of actor lives now, and tell it things. Place: filled in by ``supervisor``, used by all
actors, by ``arrivals`` and by callbacks of pools. A message to an actor that has just died is dropped: rows hold what
it was about.
"""

from __future__ import annotations

from typing import Any

import pykka

from agent.messages import (
    ForStudy,
    InboxMessage,
    JanitorMessage,
    NotifierMessage,
    QcMessage,
    RegistryMessage,
    StudyMessage,
    SupervisorMessage,
    UploaderMessage,
    WatcherMessage,
)

Ref = pykka.ActorRef[Any]


class Post:
    """The one way to tell an actor something."""

    def __init__(self) -> None:
        self._addresses: dict[str, Ref] = {}
        self._stopping: list[Ref] = []

    def move_in(self, kind: str, ref: Ref) -> None:
        """Note where the actor of a kind lives from now on."""
        self._addresses[kind] = ref

    def move_out(self, kind: str) -> None:
        """Note that the actor of a kind is gone."""
        self._addresses.pop(kind, None)

    def is_alive(self, kind: str) -> bool:
        """Say whether the actor of a kind lives."""
        ref = self._addresses.get(kind)
        return ref is not None and ref.is_alive()

    def stop(self, kind: str) -> None:
        """Let the actor of a kind end after what it has queued."""
        ref = self._addresses.get(kind)
        if ref is not None:
            self.stop_actor(ref)

    def stop_actor(self, ref: Ref) -> None:
        """Let an actor end after what it has queued."""
        if ref.is_alive():
            self._stopping.append(ref)
            ref.stop(block=False)

    def stopping(self) -> list[Ref]:
        """Return the actors that were told to end since the last call."""
        told, self._stopping = self._stopping, []
        return told

    def supervisor(self, message: SupervisorMessage) -> None:
        """Tell the supervisor."""
        self._tell("supervisor", message)

    def registry(self, message: RegistryMessage) -> None:
        """Tell the registry of studies."""
        self._tell("registry", message)

    def study(self, study_id: str, message: StudyMessage) -> None:
        """Tell a study, by way of the registry, which wakes it."""
        self._tell("registry", ForStudy(study_id, message))

    def qc(self, message: QcMessage) -> None:
        """Tell the dispatcher of quality control."""
        self._tell("qc", message)

    def uploader(self, message: UploaderMessage) -> None:
        """Tell the uploader."""
        self._tell("uploader", message)

    def watcher(self, message: WatcherMessage) -> None:
        """Tell the result watcher."""
        self._tell("watcher", message)

    def notifier(self, message: NotifierMessage) -> None:
        """Tell the notifier."""
        self._tell("notifier", message)

    def janitor(self, message: JanitorMessage) -> None:
        """Tell the janitor."""
        self._tell("janitor", message)

    def inbox(self, message: InboxMessage) -> None:
        """Tell the command inbox."""
        self._tell("inbox", message)

    def _tell(self, kind: str, message: object) -> None:
        ref = self._addresses.get(kind)
        if ref is None:
            return
        try:
            ref.tell(message)
        except pykka.ActorDeadError:
            return
