"""What a renderer is given beside the body of a report, and how the body is read.

Job: heading, pictures, and the sections in their order. Place: used by the HTML and the PDF renderer, so that both
say the same. It must never look for a heading in the body: whoever shows the report decides what identifies it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.qc.findings import GROUPS

VERDICT_WORDS = {
    "pass": ("Passed", "The study may go on to analysis."),
    "fail": ("Failed", "The study does not go on. See what to do below."),
    "review": ("Needs review", "A person decides whether the study goes on."),
}
RESULT_WORDS = {
    "pass": ("✓", "pass"), "warn": ("!", "warn"), "fail": ("✕", "fail"), "undetermined": ("?", "not determined"),
    "not_applicable": ("–", "not applicable"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a report (PNG)."""

    name: str
    caption: str
    png: bytes


@dataclass(frozen=True, slots=True)
class ReportHeading:
    """What stands above a report; for readers outside the hospital it holds no identifier.

    Attributes
    ----------
    title : str
        First line.
    lines : tuple of (str, str)
        Label and value, such as ``("Study", "q7h2…")``.
    footer : str
        Last line of the page.
    """

    title: str = "Quality report"
    lines: tuple[tuple[str, str], ...] = ()
    footer: str = ""


Body = Mapping[str, Any]


def grouped(body: Body) -> list[tuple[str, list[Body]]]:
    """Return the checks by group, in the order of the groups; what failed comes first in each."""
    order = {"fail": 0, "warn": 1, "undetermined": 2, "pass": 3}
    checks: Sequence[Body] = body.get("checks", [])
    sections = []
    for key, title in GROUPS.items():
        members = sorted((c for c in checks if c["group_id"] == key), key=lambda c: order.get(c["result"], 4))
        if members:
            sections.append((title, members))
    return sections


def advice_title(body: Body) -> str:
    """Return the title of the recommendations: a study that passed asks nobody to act."""
    return "Worth a look" if body["verdict"] == "pass" else "What to do"


def tally(body: Body) -> dict[str, int]:
    """Count the checks by result."""
    counts = dict.fromkeys(RESULT_WORDS, 0)
    for check in body.get("checks", []):
        counts[check["result"]] += 1
    counts["not_applicable"] = len(body.get("not_applicable", []))
    return counts


@dataclass(frozen=True, slots=True)
class Bar:
    """A range bar: zones and the measured value on a line from 0 to 1."""

    zones: tuple[tuple[str, float, float], ...]
    marker: float
    ticks: tuple[tuple[float, float], ...]


def bar_of(check: Body) -> Bar | None:
    """Lay measured value and limits on one line; None when there is nothing to draw."""
    limits, value = check.get("limits"), check.get("measured")
    if not limits or not isinstance(value, int | float):
        return None
    edges = [e for e in limits.values() if e is not None]
    if not edges:
        return None
    low, high = min([*edges, value]), max([*edges, value])
    span = (high - low) or max(abs(high), 1.0) * 0.2
    start, length = low - 0.18 * span, 1.36 * span

    def at(x: float) -> float:
        return float(min(1.0, max(0.0, (x - start) / length)))

    pass_low, pass_high = limits["low"], limits["high"]
    left = at(pass_low) if pass_low is not None else 0.0
    right = at(pass_high) if pass_high is not None else 1.0
    warn_left = at(limits["fail_low"]) if limits["fail_low"] is not None and pass_low is not None else left
    warn_right = at(limits["fail_high"]) if limits["fail_high"] is not None and pass_high is not None else right
    zones = [("fail", 0.0, warn_left), ("warn", warn_left, left), ("pass", left, right), ("warn", right, warn_right)]
    zones.append(("fail", warn_right, 1.0))
    kept = tuple((kind, a, max(b, a + 0.012)) for kind, a, b in zones if b > a or (kind == "pass" and a == b))
    ticks = tuple((at(e), float(e)) for e in (pass_low, pass_high) if e is not None)
    return Bar(kept, at(float(value)), ticks)
