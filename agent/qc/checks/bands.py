"""Pass, warn and fail bands of one number.

Job: judge a value against inclusive limits with a margin, and say the limit in words. Place: pure; used by every
check that compares. It must never compare floats exactly: scanners write 6400.0009765625 for 6400, so every edge has
a relative tolerance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

EPSILON = 1e-6
Result = Literal["pass", "warn", "fail", "undetermined", "not_applicable"]


@dataclass(frozen=True, slots=True)
class Band:
    """Inclusive edges; None is open.

    Attributes
    ----------
    low, high : float or None
        Inside both the value passes.
    fail_low, fail_high : float or None
        Beyond these the value fails; between a pass edge and a fail edge it warns. None: the pass edge itself.
    """

    low: float | None = None
    high: float | None = None
    fail_low: float | None = None
    fail_high: float | None = None

    def judge(self, value: float) -> tuple[Result, float]:
        """Return the result and the share of the weight it earns (1 pass, 0 fail, linear between)."""
        if self.low is not None and value < self.low - _slack(self.low):
            return _beyond(self.low - value, self.low, self.fail_low)
        if self.high is not None and value > self.high + _slack(self.high):
            return _beyond(value - self.high, self.high, self.fail_high)
        return "pass", 1.0

    def words(self, unit: str = "") -> str:
        """Return the limit as staff read it."""
        tail = f" {unit}" if unit not in ("", "%", "°") else unit
        if self.low is not None and self.high is not None:
            if self.low == self.high:
                return f"{number(self.low)}{tail}"
            return f"{number(self.low)} to {number(self.high)}{tail}"
        if self.low is not None:
            return f"at least {number(self.low)}{tail}"
        if self.high is not None:
            return f"at most {number(self.high)}{tail}"
        return "reported only"


def _slack(edge: float) -> float:
    return EPSILON * max(1.0, abs(edge))


def _beyond(excess: float, edge: float, fail_edge: float | None) -> tuple[Result, float]:
    width = abs(fail_edge - edge) if fail_edge is not None else 0.0
    if width == 0.0 or excess >= width + _slack(edge):
        return "fail", 0.0
    return "warn", max(0.0, 1.0 - excess / width)


def number(value: float) -> str:
    """Return a number with as many digits as help: 6 400, 55.5, 0.0123."""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}".replace(",", "\u202f")
    digits = 1 if abs(value) >= 100 else 2 if abs(value) >= 1 else 4
    return f"{value:,.{digits}f}".rstrip("0").rstrip(".").replace(",", "\u202f")
