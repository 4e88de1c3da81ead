"""What a benchmark returns: named figures with all their rounds, so that the spread is never lost."""

from __future__ import annotations

import statistics
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured quantity, one value a round."""

    name: str
    unit: str
    values: tuple[float, ...]
    better: str = "higher"  # higher | lower | none

    @property
    def median(self) -> float:
        """Median of the rounds."""
        return statistics.median(self.values)

    @property
    def spread(self) -> float:
        """Half the range of the rounds, relative to the median."""
        return (max(self.values) - min(self.values)) / 2 / abs(self.median) if self.median else 0.0


def paired_ratio(name: str, ours: Figure, theirs: Figure, better: str = "higher") -> Figure:
    """Ratio round by round of two figures that were measured alternately."""
    pairs = zip(ours.values, theirs.values, strict=True)
    return Figure(name, "x", tuple(a / b for a, b in pairs), better)
