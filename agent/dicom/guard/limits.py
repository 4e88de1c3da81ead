"""What a peer may cost.

Job: limits, the budget of memory, a timer and a queue that fit them. Place: used by the other modules of ``guard``.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pynetdicom.timer import Timer

from agent.clock import SystemClock
from agent.errors import DicomError

_clock = SystemClock()


class PeerViolation(DicomError):
    """A peer broke a limit or the protocol; the association is aborted."""

    default_code = "peer_violation"


class MemoryBudget:
    """Bytes of data sets that may be in memory at once in this process."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._used = 0
        self._lock = threading.Lock()

    def take(self, count: int) -> bool:
        """Take `count` bytes; False when the budget is used up."""
        with self._lock:
            if self._used + count > self._limit:
                return False
            self._used += count
            return True

    def give_back(self, count: int) -> None:
        """Give `count` bytes back."""
        with self._lock:
            self._used -= count


@dataclass(frozen=True, slots=True)
class Limits:
    """What a peer may cost."""

    max_pdu_bytes: int
    max_object_bytes: int
    pdu_timeout_s: float
    idle_timeout_s: float
    dimse_timeout_s: float
    association_timeout_s: float
    memory: MemoryBudget


class MonotonicTimer(Timer):
    """pynetdicom's timer on a clock that does not jump."""

    def __init__(self, timeout: float | None) -> None:
        super().__init__(timeout)
        self._started_at: float | None = None

    def start(self) -> None:
        """Start, or start again."""
        self._started_at = _clock.monotonic()

    def restart(self) -> None:
        """Start again."""
        self.start()

    def restart_at(self, now: float) -> None:
        """Start again at a moment that was measured already."""
        self._started_at = now

    def stop(self) -> None:
        """Stop; a stopped timer does not expire."""
        self._started_at = None

    @property
    def expired(self) -> bool:
        """Whether it ran out."""
        return self._started_at is not None and self.timeout is not None and self.remaining < 0

    @property
    def remaining(self) -> float:
        """Seconds that are left."""
        if self.timeout is None:
            return 1.0
        return self.timeout - (0 if self._started_at is None else _clock.monotonic() - self._started_at)


class WakingQueue(queue.Queue[Any]):
    """A queue whose reader is woken instead of polling."""

    def __init__(self, wake: Callable[[], None]) -> None:
        super().__init__()
        self._wake = wake

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put and wake."""
        super().put(item, block, timeout)
        self._wake()
