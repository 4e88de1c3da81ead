"""What every actor is.

Job: one place where a message reaches an actor's ``receive``, where a failure is logged, counted and reported to
whoever must start the actor again. Place: base of all classes in ``actors``. It must never hide a failure: what was
queued for a failed actor is lost, so its owner has to know.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import ClassVar, Generic, TypeVar

import pykka

from agent import metrics
from agent.logs import get_logger
from agent.messages import Begin

M = TypeVar("M")


class ActorCrash(Exception):
    """Ends an actor after its failure was logged; pykka sees nothing of the cause."""


class BaseActor(pykka.ThreadingActor, Generic[M]):
    """An actor with one entry point and one exit.

    Parameters
    ----------
    on_crash : callable
        Told, in the actor's own thread, when the actor has failed.
    """

    kind: ClassVar[str]
    use_daemon_thread = True

    def __init__(self, on_crash: Callable[[], None]) -> None:
        super().__init__()
        self._on_crash = on_crash
        self._has_begun = False
        self.log = get_logger(self.kind)

    @abstractmethod
    def begin(self) -> None:
        """Derive the position from rows; runs once, before the first message."""

    @abstractmethod
    def receive(self, message: M) -> None:
        """Handle one message."""

    def on_receive(self, message: M) -> None:
        """Hand `message` to :meth:`receive`; the one broad ``except`` of all actors."""
        try:
            if not self._has_begun:
                self.begin()
                self._has_begun = True
            if not isinstance(message, Begin):
                self.receive(message)
            self.after_message()
        except Exception as error:
            self.log.exception("actor_failed", actor=self.kind, message=type(message).__name__)
            metrics.ACTOR_CRASHES.labels(self.kind).inc()
            raise ActorCrash(self.kind) from error

    def after_message(self) -> None:
        """Run after each message that was handled."""

    def on_failure(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Report the end of this actor to its owner."""
        del exception_type, exception_value, traceback
        self._on_crash()
