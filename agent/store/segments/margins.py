"""Room on the disk.

Job: say whether objects may still be stored and associations still be accepted. Place: asked by the segment writer
before it takes an object and by admission before it takes an association. It must never let the last space go to new
objects: the database, the log and recovery need some.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from agent.config import StoreSettings
from agent.errors import StoreFull

LOOK_AGAIN_S = 0.25
LOOK_AGAIN_BYTES = 8_388_608


def free_bytes(folder: Path) -> int:
    """Return the bytes that this user may still write on the file system of `folder`."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def margin_bytes(folder: Path, percent: float, segment_bytes: int) -> int:
    """Return the margin: `percent` of the file system, two segments at least, but never more than a quarter of it."""
    status = os.statvfs(folder)
    total = status.f_blocks * status.f_frsize
    return int(max(total * percent / 100, min(2 * segment_bytes, total / 4)))


def has_room_for_associations(folder: Path, settings: StoreSettings) -> bool:
    """Whether the soft margin is free: below it new associations are refused."""
    return free_bytes(folder) > margin_bytes(folder, settings.soft_margin_percent, settings.segment_bytes)


class HardMargin:
    """The margin below which no object is taken; looks at the disk every few megabytes, not for each object."""

    def __init__(self, folder: Path, percent: float, segment_bytes: int) -> None:
        self._folder = folder
        self._percent = percent
        self._segment_bytes = segment_bytes
        self._seen_at = float("-inf")
        self._budget = 0

    def take(self, count: int) -> None:
        """Ask for `count` bytes.

        Raises
        ------
        StoreFull
            When they would go into the margin.
        """
        now = time.monotonic()
        if count > self._budget or now - self._seen_at > LOOK_AGAIN_S:
            margin = margin_bytes(self._folder, self._percent, self._segment_bytes)
            left = free_bytes(self._folder) - margin
            if left < count:
                self._budget = 0
                raise StoreFull(
                    "The disk is full up to its margin.",
                    hint="Free space or move data_dir; the agent goes on by itself when there is room.",
                )
            self._seen_at = now
            self._budget = min(left, LOOK_AGAIN_BYTES)
        self._budget -= count
