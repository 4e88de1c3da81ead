"""The registry of studies: who lives, who sleeps, who is woken.

Job: deliver messages to studies, start the actor of a study that has something to do, put idle ones to sleep, keep at
most ``live_studies`` alive, start a crashed one again and give up after three crashes. Place: the only sender to
studies; told by ``arrivals``, the other actors and the timer. It must never stop a study before that has handled all
that was delivered to it, because pykka drops in silence what a stopped actor had queued.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event
from types import TracebackType
from typing import Protocol, assert_never

from agent import metrics
from agent.actors.base import BaseActor
from agent.clock import Clock
from agent.messages import (
    Begin,
    ForStudy,
    InstancesArrived,
    LookAgain,
    RegistryMessage,
    StudyCrashed,
    StudyHandled,
    StudyMessage,
    Sweep,
    WakeAll,
)

CRASHES_MAX = 3
CRASH_WINDOW_S = 600.0
IDLE_S = 10.0
LEAVE_S = 5.0
CLOCK_JUMP_S = 5.0


class StudyRef(Protocol):
    """What the registry needs of a study's actor."""

    @property
    def actor_stopped(self) -> Event:
        """Set once it has ended."""
        ...

    def tell(self, message: object) -> None:
        """Queue a message."""
        ...

    def stop(self, block: bool = True) -> bool:
        """Stop after what is queued."""
        ...


class StudyRows(Protocol):
    """What the registry reads and writes."""

    def due(self) -> list[str]:
        """Return the studies whose deadline has come."""
        ...

    def unfinished(self) -> list[str]:
        """Return the studies that have something left to do."""
        ...

    def give_up(self, study_id: str) -> None:
        """Record that the study's actor failed too often."""
        ...


@dataclass(slots=True)
class _Life:
    ref: StudyRef
    number: int
    delivered: int = 0
    handled: int = 0
    is_resting: bool = False
    idle_since: float = 0.0

    @property
    def is_idle(self) -> bool:
        return self.handled == self.delivered


@dataclass(slots=True)
class _Crashes:
    times: deque[float] = field(default_factory=lambda: deque(maxlen=CRASHES_MAX))


class Registry(BaseActor[RegistryMessage]):
    """Parent of the studies.

    Parameters
    ----------
    start_study : callable
        Starts the actor of a study: ``(study_id, life) -> ref``.
    rows : StudyRows
        What of the store it needs.
    clock : Clock
        For idle times.
    live_max : int
        Studies alive at once.
    """

    kind = "registry"

    def __init__(
        self,
        start_study: Callable[[str, int], StudyRef],
        rows: StudyRows,
        clock: Clock,
        live_max: int,
        on_crash: Callable[[], None],
    ) -> None:
        super().__init__(on_crash)
        self._start_study = start_study
        self._rows = rows
        self._clock = clock
        self._live_max = live_max
        self._live: OrderedDict[str, _Life] = OrderedDict()  # least recently used first
        self._waiting: OrderedDict[str, list[StudyMessage]] = OrderedDict()
        self._crashes: dict[str, _Crashes] = {}
        self._lives = 0
        self._wall_ahead = clock.timestamp() - clock.monotonic()

    def begin(self) -> None:
        """Wake what has something left to do."""
        self._wake(self._rows.unfinished())

    def on_failure(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the studies: the next registry wakes them again."""
        for life in self._live.values():
            life.ref.stop(block=False)
        metrics.LIVE_STUDIES.set(0)
        super().on_failure(exception_type, exception_value, traceback)

    def receive(self, message: RegistryMessage) -> None:
        """Deliver, count, wake, put to sleep."""
        match message:
            case Begin():
                pass
            case ForStudy(study_id, inner):
                self._deliver(study_id, inner)
            case StudyHandled(study_id, life, count, is_resting):
                self._note_handled(study_id, life, count, is_resting)
            case StudyCrashed(study_id, life):
                self._note_crash(study_id, life)
            case Sweep():
                self._sweep()
            case WakeAll():
                self._wake(self._rows.unfinished())
            case _ as never:
                assert_never(never)

    # -- delivery -------------------------------------------------------------------------------------------------

    def _deliver(self, study_id: str, message: StudyMessage) -> None:
        life = self._live.get(study_id) or self._activate(study_id)
        if life is None:
            _queue_up(self._waiting.setdefault(study_id, []), message)
            return
        self._tell(study_id, life, message)

    def _tell(self, study_id: str, life: _Life, message: StudyMessage) -> None:
        life.delivered += 1
        life.is_resting = False
        self._live.move_to_end(study_id)
        life.ref.tell(message)

    def _activate(self, study_id: str) -> _Life | None:
        if len(self._live) >= self._live_max and not self._make_room():
            return None
        self._lives += 1
        life = _Life(self._start_study(study_id, self._lives), self._lives)
        self._live[study_id] = life
        metrics.LIVE_STUDIES.set(len(self._live))
        return life

    def _make_room(self) -> bool:
        idle = [s for s, life in self._live.items() if life.is_idle]
        victim = next((s for s in idle if self._live[s].is_resting), idle[0] if idle else None)
        if victim is None:
            return False
        ref = self._put_to_sleep(victim)
        if not ref.actor_stopped.wait(LEAVE_S):  # it is idle: until it is gone, it counts
            self.log.warning("study_leaves_slowly", study=victim)
        return True

    def _put_to_sleep(self, study_id: str) -> StudyRef:
        life = self._live.pop(study_id)
        life.ref.stop(block=False)
        metrics.LIVE_STUDIES.set(len(self._live))
        return life.ref

    def _wake(self, study_ids: list[str]) -> None:
        for study_id in study_ids:
            self._deliver(study_id, LookAgain())

    # -- what studies report --------------------------------------------------------------------------------------

    def _note_handled(self, study_id: str, number: int, count: int, is_resting: bool) -> None:
        life = self._live.get(study_id)
        if life is None or life.number != number:
            return
        life.handled, life.is_resting = count, is_resting
        if life.is_idle:
            life.idle_since = self._clock.monotonic()
            self._serve_waiting()

    def _serve_waiting(self) -> None:
        while self._waiting:
            study_id = next(iter(self._waiting))
            life = self._live.get(study_id) or self._activate(study_id)
            if life is None:
                return
            for message in self._waiting.pop(study_id):
                self._tell(study_id, life, message)

    def _note_crash(self, study_id: str, number: int) -> None:
        life = self._live.get(study_id)
        if life is None or life.number != number:
            return
        del self._live[study_id]
        metrics.LIVE_STUDIES.set(len(self._live))
        now = self._clock.monotonic()
        crashes = self._crashes.setdefault(study_id, _Crashes()).times
        crashes.append(now)
        if len(crashes) == CRASHES_MAX and now - crashes[0] <= CRASH_WINDOW_S:
            del self._crashes[study_id]
            self._waiting.pop(study_id, None)
            self.log.error("study_given_up", study=study_id, crashes=CRASHES_MAX)
            self._rows.give_up(study_id)
        else:
            self._deliver(study_id, LookAgain())
        self._serve_waiting()

    def _sweep(self) -> None:
        now = self._clock.monotonic()
        for study_id in [
            s for s, v in self._live.items() if v.is_idle and v.is_resting and now - v.idle_since > IDLE_S
        ]:
            self._put_to_sleep(study_id)
        self._crashes = {s: c for s, c in self._crashes.items() if now - c.times[-1] <= CRASH_WINDOW_S}
        ahead = self._clock.timestamp() - now
        has_jumped = abs(ahead - self._wall_ahead) > CLOCK_JUMP_S
        self._wall_ahead = ahead
        if has_jumped:
            self.log.warning("wall_clock_jumped")
            self._wake(self._rows.unfinished())
        else:
            self._wake(self._rows.due())


def _queue_up(queue: list[StudyMessage], message: StudyMessage) -> None:
    """Add what a study is told later; arrivals join, so that a crowd of images takes no more room than one."""
    if isinstance(message, InstancesArrived):
        for place, known in enumerate(queue):
            if isinstance(known, InstancesArrived):
                queue[place] = InstancesArrived(
                    known.new + message.new,
                    known.duplicates + message.duplicates,
                    known.conflicts + message.conflicts,
                )
                return
    if message not in queue:  # a message may be lost or come twice: equal ones count once
        queue.append(message)
