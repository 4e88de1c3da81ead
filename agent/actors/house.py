"""Who lives in the house, in which order they move in and out.

Job: start the supervisor with a starter for each actor, set the periodic messages, stop all with a deadline. Place:
built by ``engine``. It must never wait for an actor without a deadline: pykka's own ``stop_all`` has none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pykka

from agent.actors.command_inbox import CommandInbox
from agent.actors.janitor import Janitor
from agent.actors.notifier import Notifier
from agent.actors.qc_dispatcher import QcDispatcher
from agent.actors.registry import Registry
from agent.actors.result_watcher import ResultWatcher
from agent.actors.study.actor import StudyActor
from agent.actors.study.stored_studies import StoredStudies
from agent.actors.supervisor import Starter, Supervisor
from agent.actors.surroundings import Surroundings
from agent.actors.uploader import Uploader
from agent.logs import get_logger
from agent.messages import Begin, CleanUp, LookForCommands, Poll, Sweep

log = get_logger("actors")

SWEEP_S = 1.0
COMMANDS_S = 0.1

Ref = pykka.ActorRef[Any]


class House:
    """All actors.

    Parameters
    ----------
    around : Surroundings
        What every actor is given.
    """

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._supervisor: Ref | None = None
        self._is_stopping = False
        self._studies: dict[str, Ref] = {}

    def start(self) -> None:
        """Start the supervisor, which starts the others, and the periodic messages."""
        self._start_supervisor()
        timer, post, settings = self._around.timer, self._around.post, self._around.settings
        timer.every(SWEEP_S, lambda: post.registry(Sweep()))
        timer.every(COMMANDS_S, lambda: post.inbox(LookForCommands()))
        if self._around.cloud is not None:
            timer.every(max(settings.cloud.poll_s, 0.05), lambda: post.watcher(Poll()))
        if settings.retention.delivered_days is not None:
            timer.every(max(settings.retention.sweep_s, 1.0), lambda: post.janitor(CleanUp()))

    def _start_supervisor(self) -> None:
        around = self._around
        self._supervisor = Supervisor.start(
            self._starters(), around.post, around.timer, self._alarm, self._supervisor_failed
        )
        around.post.move_in("supervisor", self._supervisor)
        self._supervisor.tell(Begin())

    def _start_study(self, study_id: str, life: int) -> Ref:
        ref = StudyActor.start(self._around, study_id, life)
        self._studies = {s: r for s, r in self._studies.items() if r.is_alive()} if life % 64 == 0 else self._studies
        self._studies[study_id] = ref
        return ref

    def _supervisor_failed(self) -> None:
        if not self._is_stopping:
            self._around.timer.after(0.1, self._start_supervisor)

    def _alarm(self, kind: str) -> None:
        self._around.alarm(
            f"actor_{kind}", "error", f"A part of the agent fails again and again: {kind}.", "The log has the cause."
        )

    def _starters(self) -> dict[str, Starter]:
        around = self._around
        rows, settings = StoredStudies(around), around.settings

        def registry(failed: Callable[[], None]) -> Ref:
            return Registry.start(
                self._start_study,
                rows,
                around.clock,
                settings.study.live_studies,
                failed,
            )

        return {
            "notifier": lambda failed: Notifier.start(around, failed),
            "qc": lambda failed: QcDispatcher.start(around, failed),
            "uploader": lambda failed: Uploader.start(around, failed),
            "watcher": lambda failed: ResultWatcher.start(around, failed),
            "registry": registry,
            "janitor": lambda failed: Janitor.start(around, failed),
            "inbox": lambda failed: CommandInbox.start(around, failed),
        }

    def stop(self, timeout_s: float) -> list[str]:
        """Stop every actor after what it has queued; the registry stops its studies.

        Returns
        -------
        list of str
            Actors that had not ended in time.
        """
        self._is_stopping = True
        clock = self._around.clock
        deadline = clock.monotonic() + timeout_s
        for kind in ("inbox", "janitor", "registry"):
            self._around.post.stop(kind)
        late = self._wait(deadline)
        for ref in list(self._studies.values()):
            self._around.post.stop_actor(ref)
        late += self._wait(deadline)
        for kind in ("uploader", "watcher", "qc", "notifier", "supervisor"):
            self._around.post.stop(kind)
        return late + self._wait(deadline)

    def _wait(self, deadline: float) -> list[str]:
        late = []
        for actor in self._around.post.stopping():
            remaining = max(0.0, deadline - self._around.clock.monotonic())
            if not actor.actor_stopped.wait(remaining):
                late.append(str(actor.actor_class.__name__))
        if late:
            log.warning("actors_late", actors=sorted(set(late)), count=len(late))
        return late
