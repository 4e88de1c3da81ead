"""The actors alone: a tell, the way through the registry to a study, waking studies under a cap."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pykka

from agent.actors.base import BaseActor
from agent.actors.post import Post
from agent.actors.registry import Registry
from agent.clock import SystemClock
from agent.messages import ForStudy, LookAgain, StudyHandled
from benchmarks.figures import Figure

ROUNDS = 5


class Counter:
    """Counts down and says when it is done."""

    def __init__(self, count: int) -> None:
        self._left, self._lock, self.done = count, threading.Lock(), threading.Event()

    def count(self) -> None:
        with self._lock:
            self._left -= 1
            if self._left == 0:
                self.done.set()


class Listener(BaseActor[LookAgain]):
    """Counts what it is told."""

    kind = "listener"

    def __init__(self, counter: Counter) -> None:
        super().__init__(lambda: None)
        self._counter = counter

    def begin(self) -> None:
        pass

    def receive(self, message: LookAgain) -> None:
        del message
        self._counter.count()


class EmptyStudy(BaseActor[LookAgain]):
    """A study that reads nothing: what is left is the registry's own cost."""

    kind = "study"

    def __init__(self, post: Post, study_id: str, life: int, counter: Counter) -> None:
        super().__init__(lambda: None)
        self._post, self._id, self._life, self._counter, self._handled = post, study_id, life, counter, 0

    def begin(self) -> None:
        pass

    def receive(self, message: LookAgain) -> None:
        del message
        self._counter.count()

    def after_message(self) -> None:
        self._handled += 1
        self._post.registry(StudyHandled(self._id, self._life, self._handled, True))


class NoRows:
    def due(self) -> list[str]:
        return []

    def unfinished(self) -> list[str]:
        return []

    def give_up(self, study_id: str) -> None:
        raise AssertionError(study_id)


def tells(count: int) -> float:
    """Messages a second from one thread to one actor."""
    counter = Counter(count)
    ref = Listener.start(counter)
    started = time.perf_counter()
    for _ in range(count):
        ref.tell(LookAgain())
    counter.done.wait()
    took = time.perf_counter() - started
    ref.stop()
    return count / took


def through_registry(count: int, studies: int, cap: int) -> float:
    """Messages a second through the registry to `studies` studies of which `cap` may live."""
    counter, post = Counter(count), Post()
    registry = Registry.start(
        lambda study_id, life: EmptyStudy.start(post, study_id, life, counter),
        NoRows(),
        SystemClock(),
        cap,
        lambda: None,
    )
    post.move_in("registry", registry)
    started = time.perf_counter()
    for n in range(count):
        registry.tell(ForStudy(f"s{n % studies}", LookAgain()))
    counter.done.wait()
    took = time.perf_counter() - started
    lives = _living_studies()
    registry.stop()
    for ref in lives:
        ref.stop()
    return count / took


def _living_studies() -> list[Any]:
    return pykka.ActorRegistry.get_by_class(EmptyStudy)


def run(*, quick: bool, say: Callable[[str], None]) -> list[Figure]:
    """Measure; five rounds, or two when quick."""
    rounds = 2 if quick else ROUNDS
    scale = 1 if quick else 5
    tells(1000)
    plan: list[tuple[str, Callable[[], float]]] = [
        ("tell", lambda: tells(20_000 * scale)),
        ("registry_live", lambda: through_registry(4_000 * scale, 100, 256)),
        ("registry_churn", lambda: through_registry(1_000 * scale, 1_000 * scale, 64)),
    ]
    figures = []
    for name, measure in plan:
        values = tuple(measure() for _ in range(rounds))
        figures.append(Figure(name, "messages/s", values))
        say(f"{name}: {figures[-1].median:,.0f} messages/s")
    return figures
