"""Facts about the disk.

Job: how full the data directory's file system is, which margin is reached, and when it will be full at the present
rate. Place: read by the pages for health and metrics and by the engine's alarm; pure but for the one system call. It
must never delete.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from agent.config import StoreSettings

_DAY_S = 86_400.0


class Margin(StrEnum):
    """Which margin of free space is reached."""

    NONE = "none"
    SOFT = "soft"
    HARD = "hard"


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """Space of one file system, in bytes."""

    total_bytes: int
    used_bytes: int
    free_bytes: int

    @property
    def free_percent(self) -> float:
        """Free share of what the agent can use."""
        return 100.0 * self.free_bytes / self.total_bytes if self.total_bytes else 0.0


@dataclass(frozen=True, slots=True)
class UsagePoint:
    """Space used at one moment."""

    at: float
    used_bytes: int


def read_usage(folder: Path) -> DiskUsage:
    """Return the space of the file system that holds `folder`.

    Raises
    ------
    OSError
        If the folder is not there.
    """
    usage = shutil.disk_usage(folder)
    return DiskUsage(usage.total, usage.used, usage.free)


def margin_of(usage: DiskUsage, settings: StoreSettings) -> Margin:
    """Return the margin that is reached."""
    if usage.free_percent < settings.hard_margin_percent:
        return Margin.HARD
    if usage.free_percent < settings.soft_margin_percent:
        return Margin.SOFT
    return Margin.NONE


def growth_bytes_per_day(history: Sequence[UsagePoint]) -> float | None:
    """Return the slope of a straight line through `history` (least squares); None when it says nothing.

    Parameters
    ----------
    history : sequence of UsagePoint
        At least two points at different times, in any order.
    """
    if len(history) < 2:
        return None
    middle = sum(p.at for p in history) / len(history)
    level = sum(p.used_bytes for p in history) / len(history)
    spread = sum((p.at - middle) ** 2 for p in history)
    if spread == 0:
        return None
    return sum((p.at - middle) * (p.used_bytes - level) for p in history) / spread * _DAY_S


def days_to_full(usage: DiskUsage, history: Sequence[UsagePoint]) -> float | None:
    """Return the days until nothing is free at the present growth; None when it does not grow."""
    growth = growth_bytes_per_day(history)
    if growth is None or growth <= 0:
        return None
    return usage.free_bytes / growth
