"""Alarms: what a human must know, until it is over.

Job: raise, clear and list. Place: any room of the engine raises; Home and the notifier show. A text must never hold
patient data.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from agent.store.database import change, query, transact


@dataclass(frozen=True, slots=True)
class AlarmRow:
    """An alarm as its row says; `severity` is warning or error."""

    code: str
    severity: str
    text: str
    hint: str
    raised_at: float
    cleared_at: float | None


def raise_alarm(code: str, severity: str, text: str, hint: str) -> bool:
    """Raise an alarm; True when it was not open before. An open one takes the new text."""

    def write() -> bool:
        opened = bool(query("SELECT 1 FROM alarm WHERE code = ? AND cleared_at IS NULL", (code,)))
        change(
            "INSERT INTO alarm (code, severity, text, hint, raised_at, cleared_at) VALUES (?,?,?,?,?,NULL) "
            "ON CONFLICT (code) DO UPDATE SET severity = excluded.severity, text = excluded.text, hint = "
            "excluded.hint, "
            "raised_at = CASE WHEN cleared_at IS NULL THEN raised_at ELSE excluded.raised_at END, cleared_at = NULL",
            (code, severity, text, hint, time.time()),
        )
        return not opened

    return transact(write)


def clear_alarm(code: str) -> bool:
    """Clear an alarm; True when it was open."""
    statement = "UPDATE alarm SET cleared_at = ? WHERE code = ? AND cleared_at IS NULL"
    return bool(transact(lambda: change(statement, (time.time(), code))))


def read_open() -> list[AlarmRow]:
    """Return the open alarms, errors first, then the oldest."""
    rows = query(
        "SELECT code, severity, text, hint, raised_at, cleared_at FROM alarm WHERE cleared_at IS NULL "
        "ORDER BY severity = 'error' DESC, raised_at"
    )
    return [AlarmRow(*row) for row in rows]
