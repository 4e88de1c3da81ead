"""Time as a thing that can be handed in.

Job: the wall clock (aware UTC) and the monotonic clock behind one small interface, and the only place where the agent
sleeps. Place: created by ``engine`` and handed to whatever measures time; tests hand in ``ManualClock``. Durations are
always taken from :meth:`Clock.monotonic`, never from differences of wall time.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the agent asks of a clock."""

    def now(self) -> datetime:
        """Return the present as aware UTC."""
        ...

    def timestamp(self) -> float:
        """Return the present as seconds since the epoch (UTC), the form rows carry."""
        ...

    def monotonic(self) -> float:
        """Return seconds on a clock that never jumps."""
        ...

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Wait for `event` at most `timeout_s` seconds; True when it was set."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        """Return the present as aware UTC."""
        return datetime.now(UTC)

    def timestamp(self) -> float:
        """Return seconds since the epoch (UTC)."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds on a clock that never jumps."""
        return time.monotonic()

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Wait for `event` at most `timeout_s` seconds; True when it was set."""
        return event.wait(timeout_s)


class ManualClock:
    """A clock that moves only when told to, for tests and rehearsals."""

    def __init__(self, start: float = 1_767_225_600.0) -> None:
        self._timestamp = start
        self._monotonic = 0.0
        self._moved = threading.Condition()

    def now(self) -> datetime:
        """Return the present as aware UTC."""
        return datetime.fromtimestamp(self._timestamp, UTC)

    def timestamp(self) -> float:
        """Return seconds since the epoch (UTC)."""
        return self._timestamp

    def monotonic(self) -> float:
        """Return seconds on a clock that never jumps."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Move both clocks on by `seconds` and wake whoever waits."""
        with self._moved:
            self._timestamp += seconds
            self._monotonic += seconds
            self._moved.notify_all()

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Wait until `event` is set or the clock was moved on by `timeout_s`."""
        end = self._monotonic + timeout_s
        with self._moved:
            while not event.is_set() and self._monotonic < end:
                self._moved.wait(0.01)
        return event.is_set()


def pause(seconds: float) -> None:
    """Sleep; the only call of ``time.sleep`` in the agent."""
    time.sleep(seconds)
