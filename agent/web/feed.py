"""What changed, for everybody who waits: one thread, one cursor.

Job: watch ``PRAGMA data_version`` (microseconds a look), read the studies whose rows changed, number the changes
and wake all waiting requests at once. Place: started by ``server``; asked by the API and the pages. A cursor is
``<step>.<run>.<number>``: a number of this run of the process and, for whoever comes back after a restart, the
number of the last step in the studies' histories. It must never do work for each waiter, and never write.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from agent.clock import Clock
from agent.logs import get_logger
from agent.store.reader import operations, studies

log = get_logger("web")

LOOK_EVERY_S = 0.2
WAKE_EVERY_S = 0.8
"""Waiters are woken at most this often while a lot happens; a change is on the screen within 1.5 s."""
OVERLAP_S = 5.0
"""Rows may be committed this much later than the time they carry."""
KEPT = 5000
PER_ANSWER = 500
RENDER_S = 5.0
"""Longest wait for what another thread is writing; then look again."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Studies that changed after a cursor, and the cursor to come back with."""

    cursor: str
    study_ids: tuple[str, ...]
    is_complete: bool
    """False: more changed than is kept; whoever shows a list reads it anew."""


class Feed:
    """The cursor thread and what it found."""

    def __init__(self, clock: Clock, *, waiters: int = 20) -> None:
        self._clock = clock
        self._run = secrets.token_hex(4)
        self._changed = threading.Condition()
        self._entries: deque[tuple[int, str]] = deque(maxlen=KEPT)
        self._number = 0
        self._step = 0
        self._seen: dict[str, float] = {}
        self._high = 0.0
        self._version = -1
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._seats = threading.BoundedSemaphore(max(1, waiters))
        self._rendered: OrderedDict[tuple[object, ...], str] = OrderedDict()
        self._making: dict[tuple[object, ...], threading.Event] = {}
        self._counts: dict[str, int] = {}
        self._counts_number = -1

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._watch, name="web-feed", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Stop the thread and send all waiters home."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _watch(self) -> None:
        while not self._stop.is_set():
            found = False
            try:
                found = self.look()
            except Exception:  # the thread outlives a database that is busy or being replaced
                log.warning("web_feed_failed", exc_info=True)
                self._clock.wait(self._stop, 1.0)
            self._clock.wait(self._stop, WAKE_EVERY_S if found else LOOK_EVERY_S)

    def look(self) -> bool:
        """Look once; return whether studies changed. Called by the thread, and by tests."""
        version = operations.data_version()
        if version == self._version:
            return False
        first = self._version == -1
        # the version is noted before reading: what is committed meanwhile is found at the next look
        self._version = version
        step = operations.last_step()
        if first:
            self._high = studies.last_update()
        changed = self._read_changed()
        if first:
            changed = []
        with self._changed:
            self._step = max(self._step, step)
            for study_id in changed:
                self._number += 1
                self._entries.append((self._number, study_id))
            if changed:
                self._changed.notify_all()
        return bool(changed)

    def _read_changed(self) -> list[str]:
        changed: list[str] = []
        since = self._high - OVERLAP_S
        while True:
            rows = studies.changed_since(since, PER_ANSWER)
            for row in rows:
                if self._seen.get(row.id) != row.updated_at:
                    self._seen[row.id] = row.updated_at
                    changed.append(row.id)
            if len(rows) < PER_ANSWER or rows[-1].updated_at <= since:
                break
            since = rows[-1].updated_at
        if rows:
            self._high = max(self._high, rows[-1].updated_at)
        edge = self._high - OVERLAP_S
        self._seen = {study_id: at for study_id, at in self._seen.items() if at >= edge}
        return changed

    def cursor(self) -> str:
        """Return the cursor of this moment."""
        with self._changed:
            return self._cursor(self._number)

    def _cursor(self, number: int) -> str:
        return f"{self._step}.{self._run}.{number}"

    def since(self, cursor: str, wait_s: float) -> Changes:
        """Return what changed after `cursor`; wait when nothing did.

        Parameters
        ----------
        cursor : str
            What the last answer gave; empty for the cursor of this moment.
        wait_s : float
            Longest wait. Nobody waits while too many already do: their answers come at once.
        """
        step, run, number = _parse(cursor)
        if not cursor:
            return Changes(self.cursor(), (), True)
        if run != self._run:
            return self._after_restart(step)
        if wait_s > 0 and self._seats.acquire(blocking=False):
            try:
                with self._changed:
                    self._changed.wait_for(lambda: self._stop.is_set() or self._number > number, wait_s)
            finally:
                self._seats.release()
        with self._changed:
            oldest = self._entries[0][0] if self._entries else self._number + 1
            newer = list(islice(self._newer_than(number), PER_ANSWER))
            last = newer[-1][0] if newer else self._number
            complete = number >= oldest - 1
            return Changes(self._cursor(last), tuple(dict.fromkeys(i for _, i in newer)), complete)

    def _newer_than(self, number: int) -> Iterator[tuple[int, str]]:
        """Yield the entries after `number`, oldest first; entries are numbered without a gap."""
        if not self._entries:
            return iter(())
        return islice(self._entries, max(0, number + 1 - self._entries[0][0]), None)

    def _after_restart(self, step: int) -> Changes:
        with self._changed:
            cursor = self._cursor(self._number)
        found, last = operations.studies_stepped_since(step, PER_ANSWER)
        return Changes(cursor, tuple(found), is_complete=last >= operations.last_step())

    def counts(self) -> dict[str, int]:
        """Return the number of studies in each status, counted once a change for all who ask."""
        with self._changed:
            if self._counts_number == self._number and self._counts:
                return self._counts
            number = self._number
        counts = studies.count_by_status()
        with self._changed:
            self._counts, self._counts_number = counts, number
        return counts

    def rendered(self, key: tuple[object, ...], render: Callable[[], str]) -> str:
        """Return what `render` made for `key`: the first to ask makes it, all others wait for it."""
        while True:
            with self._changed:
                if key in self._rendered:
                    return self._rendered[key]
                made = self._making.get(key)
                if made is None:
                    self._making[key] = mine = threading.Event()
                    break
            made.wait(RENDER_S)
        try:
            text = render()
            with self._changed:
                self._rendered[key] = text
                while len(self._rendered) > 2000:
                    self._rendered.popitem(last=False)
        finally:
            with self._changed:
                del self._making[key]
            mine.set()
        return text


def _parse(cursor: str) -> tuple[int, str, int]:
    parts = cursor.split(".")
    if len(parts) != 3 or not parts[0].isdigit() or not parts[2].isdigit():
        return 0, "", 0
    return int(parts[0]), parts[1], int(parts[2])
