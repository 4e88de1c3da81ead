"""What every actor is given.

Job: one frozen record of the parts an actor works with: settings, clock, store, pool, timer, post. Place: built by
``engine``, handed to every actor at its start. It must never hold anything that belongs to one study.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from agent.actors.key_gate import KeyGate
from agent.actors.post import Post
from agent.actors.timer import Timer
from agent.actors.traffic import Traffic
from agent.clock import Clock
from agent.cloud.contract import Cloud
from agent.config import Settings
from agent.messages import AlarmRaised
from agent.pool import WorkerPool
from agent.store import alarms, database
from agent.store.keys import Keyring, StudyKeys
from agent.store.writer import Writer

T = TypeVar("T")

READERS = 2


class Reads:
    """A few threads that read the database for the actors.

    A study's actor is a thread of its own; a database connection for each would cost more than the studies themselves.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(READERS, "reads")

    def __call__(self, query: Callable[[], T]) -> T:
        """Run `query` with a read-only connection and wait for what it returns."""
        return self._threads.submit(query).result()

    def stop(self) -> None:
        """Close the connections and end the threads."""
        for _ in range(READERS):
            self._threads.submit(lambda: database.current().close())
        self._threads.shutdown(wait=True, cancel_futures=False)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The parts an actor works with."""

    settings: Settings
    clock: Clock
    keyring: Keyring
    study_keys: StudyKeys
    writer: Writer
    read: Reads
    segments: Path
    traffic: Traffic
    timer: Timer
    post: Post
    pool: WorkerPool
    cloud: Cloud | None
    gate: KeyGate
    forget_key: Callable[[str], bool]

    def write(self, operation: Callable[[], T]) -> T:
        """Run a writing `operation` and wait for its commit."""
        return self.writer.run(operation)

    def alarm(self, code: str, severity: str, text: str, hint: str = "") -> None:
        """Open an alarm, and tell people when it is new."""

        def raised() -> bool:
            return bool(alarms.raise_alarm(code, severity, text, hint))

        def tell(is_new: bool) -> None:
            if is_new:
                self.post.notifier(AlarmRaised(code, text, hint))

        self.writer.submit(raised).add_done_callback(lambda f: tell(f.exception() is None and f.result()))

    def clear(self, code: str) -> None:
        """Close an alarm."""
        self.writer.submit(lambda: alarms.clear_alarm(code))
