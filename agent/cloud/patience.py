"""Trying again.

Job: repeat a call to the cloud through an outage without end, and through refusals a bounded number of times, with
exponential back-off and jitter. Place: one per running order, shared by its connections; used by ``upload``. It must
never give up on an outage, and tells the caller once when one begins and once when it is over.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import TypeVar

from agent.clock import Clock
from agent.config import CloudSettings
from agent.errors import CloudError, Permanent, Transient
from agent.metrics import UPLOAD_RETRIES

T = TypeVar("T")

FINAL = frozenset({"object_differs", "order_id", "cloud_too_large"})
"""Refusals that no repetition can change."""


class Halted(Exception):
    """The upload was asked to end while it waited."""


class Patience:
    """The patience of one order.

    Parameters
    ----------
    settings : CloudSettings
        First and longest delay, refusals at most.
    clock : Clock
        What waits.
    halt : threading.Event
        Ends every wait.
    problem : callable
        Told the error when the cloud stops answering as it should, and ``None`` when it does again.
    """

    def __init__(
        self, settings: CloudSettings, clock: Clock, halt: threading.Event, problem: Callable[[CloudError | None], None]
    ) -> None:
        self._settings, self._clock, self._halt, self._problem = settings, clock, halt, problem
        self._lock = threading.Lock()
        self._told: str | None = None

    def keep_trying(self, act: Callable[[], T], is_moot: Callable[[], bool] = lambda: False) -> T:
        """Return what `act` returns, however long that takes.

        Parameters
        ----------
        act : callable
            One idempotent call of the cloud.
        is_moot : callable, optional
            Says that nobody needs the answer any more.

        Raises
        ------
        Permanent
            After ``refusals_max`` refusals, or at once when repeating is pointless.
        Halted
            When asked to end.
        """
        attempts = refusals = 0
        while True:
            if self._halt.is_set() or is_moot():
                raise Halted
            problem: CloudError
            try:
                answer = act()
            except Transient as error:
                cause, problem = "outage", error
            except Permanent as error:
                refusals += 1
                if error.code in FINAL or refusals >= self._settings.refusals_max:
                    raise
                cause, problem = "refusal", error
            else:
                self.tell(None)
                return answer
            UPLOAD_RETRIES.labels(cause).inc()
            self.tell(problem)
            self._clock.wait(self._halt, self._delay_s(attempts))
            attempts += 1

    def tell(self, problem: CloudError | None) -> None:
        """Tell the caller about a change, and only about a change."""
        code = problem.code if problem is not None else None
        with self._lock:
            if code == self._told:
                return
            self._told = code
            self._problem(problem)

    def _delay_s(self, attempts: int) -> float:
        longest = min(self._settings.retry_max_s, self._settings.retry_first_s * 2.0 ** min(attempts, 30))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret
