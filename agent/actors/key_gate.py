"""No key is handed out while its study is being deleted.

Job: let the hand-out of study keys wait for a deletion that is under way, so that no image is acknowledged under a
key that is about to be shredded. Place: closed by the study's actor, passed by ``arrivals``. It must never stay
closed.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


class KeyGate:
    """A gate for each study; open unless somebody is deleting it."""

    def __init__(self) -> None:
        self._closed: set[str] = set()
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def closed(self, study_id: str) -> Iterator[None]:
        """Keep the gate of a study closed."""
        with self._changed:
            self._closed.add(study_id)
        try:
            yield
        finally:
            with self._changed:
                self._closed.discard(study_id)
                self._changed.notify_all()

    def wait(self, study_id: str, timeout_s: float) -> bool:
        """Wait until the gate is open; False when that took too long."""
        with self._changed:
            return self._changed.wait_for(lambda: study_id not in self._closed, timeout_s)
