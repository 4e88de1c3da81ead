"""Starts the actors of the house and starts again those that fail.

Job: one actor of each kind; a failed one comes back after a delay that grows to a limit. Place: the first actor,
started by ``engine``; studies are not its business but the registry's. It must never give up: an actor that is
missing stops part of the agent, and an alarm says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, assert_never

import pykka

from agent.actors.base import BaseActor
from agent.actors.post import Post
from agent.actors.timer import Timer
from agent.messages import ActorFailed, Begin, StartAgain, SupervisorMessage

FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 30.0
QUIET_S = 60.0

Starter = Callable[[Callable[[], None]], pykka.ActorRef[Any]]


class Supervisor(BaseActor[SupervisorMessage]):
    """Parent of the actors of the house.

    Parameters
    ----------
    starters : mapping
        For each kind, in the order they are started, a function that starts its actor and gets what to call on failure.
    post : Post
        Where new addresses are noted.
    timer : Timer
        For delays.
    alarm : callable
        Called with the kind of an actor that fails again and again.
    """

    kind = "supervisor"

    def __init__(
        self,
        starters: Mapping[str, Starter],
        post: Post,
        timer: Timer,
        alarm: Callable[[str], None],
        on_crash: Callable[[], None],
    ) -> None:
        super().__init__(on_crash)
        self._starters = starters
        self._post = post
        self._timer = timer
        self._alarm = alarm
        self._delays: dict[str, float] = {}

    def begin(self) -> None:
        """Start every actor that does not live yet."""
        for kind in self._starters:
            if not self._post.is_alive(kind):
                self._start(kind)

    def receive(self, message: SupervisorMessage) -> None:
        """Start an actor again."""
        match message:
            case Begin():
                pass
            case ActorFailed(kind):
                self._post.move_out(kind)
                delay = min(self._delays.get(kind, FIRST_DELAY_S / 2) * 2, LONGEST_DELAY_S)
                self._delays[kind] = delay
                self.log.warning("actor_restart", actor=kind, delay_s=delay)
                if delay > 1:
                    self._alarm(kind)
                self._timer.after(delay, lambda: self._post.supervisor(StartAgain(kind)))
            case StartAgain(kind):
                if not self._post.is_alive(kind):
                    self._start(kind)
                    started_with = self._delays.get(kind)
                    self._timer.after(QUIET_S, lambda: self._calm(kind, started_with))
            case _ as never:
                assert_never(never)

    def _calm(self, kind: str, delay_s: float | None) -> None:
        """Forget the delay of an actor that has lived for a while."""
        if self._delays.get(kind) == delay_s:
            self._delays.pop(kind, None)

    def _start(self, kind: str) -> None:
        ref = self._starters[kind](lambda: self._post.supervisor(ActorFailed(kind)))
        self._post.move_in(kind, ref)
        ref.tell(Begin())
