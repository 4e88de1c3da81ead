"""One thread that does things later.

Job: a heap of due times and one thread that calls what is due. Place: started by ``engine``; actors ask it for a
message to themselves. It must never run anything that takes time: callbacks tell and return.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from agent.clock import Clock
from agent.logs import get_logger

log = get_logger("timer")


@dataclass(slots=True)
class Appointment:
    """Something that will be called once, or again and again."""

    call: Callable[[], None]
    every_s: float | None = None
    is_cancelled: bool = field(default=False)

    def cancel(self) -> None:
        """Not any more."""
        self.is_cancelled = True


class Timer:
    """The timer thread.

    Parameters
    ----------
    clock : Clock
        Whose monotonic time counts.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, Appointment]] = []
        self._order = itertools.count()
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="timer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End the thread; what is not due yet is forgotten."""
        self._stopping = True
        self._changed.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def after(self, delay_s: float, call: Callable[[], None]) -> Appointment:
        """Call `call` once, `delay_s` seconds from now."""
        return self._add(delay_s, Appointment(call))

    def every(self, period_s: float, call: Callable[[], None]) -> Appointment:
        """Call `call` every `period_s` seconds, the first time after one period."""
        return self._add(period_s, Appointment(call, period_s))

    def _add(self, delay_s: float, appointment: Appointment) -> Appointment:
        due = self._clock.monotonic() + max(delay_s, 0.0)
        with self._lock:
            heapq.heappush(self._heap, (due, next(self._order), appointment))
            is_first = self._heap[0][2] is appointment
        if is_first:
            self._changed.set()
        return appointment

    def _run(self) -> None:
        while not self._stopping:
            self._changed.clear()
            for appointment in self._due():
                self._call(appointment)
            with self._lock:
                wait_s = self._heap[0][0] - self._clock.monotonic() if self._heap else 60.0
            if wait_s > 0:
                self._clock.wait(self._changed, wait_s)

    def _due(self) -> list[Appointment]:
        now = self._clock.monotonic()
        due: list[Appointment] = []
        with self._lock:
            while self._heap and self._heap[0][0] <= now:
                due.append(heapq.heappop(self._heap)[2])
        return due

    def _call(self, appointment: Appointment) -> None:
        if appointment.is_cancelled:
            return
        try:
            appointment.call()
        except Exception:
            log.exception("timer_callback_failed")
        if appointment.every_s is not None:
            self._add(appointment.every_s, appointment)
