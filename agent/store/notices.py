"""News that people are told, each thing once.

Job: keep what is to be told from the moment it became true until somebody took it. Place: planned in the transaction
of the change it tells of, claimed and finished by the notifier. Writes run inside operations of the writer. It must
never hold a text: keys are made of codes, opaque ids and times.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.store.database import change, query

WAITING, SENDING = "waiting", "sending"


@dataclass(frozen=True, slots=True)
class NoticeRow:
    """A piece of news; `outcome` is `waiting`, `sending` or what became of it."""

    key: str
    at: float
    outcome: str


def plan(key: str, at: float) -> bool:
    """Note that something is to be told; False when it was planned before."""
    statement = "INSERT INTO notice (key, at, outcome) VALUES (?,?,?) ON CONFLICT (key) DO NOTHING"
    return bool(change(statement, (key, at, WAITING)))


def claim(key: str) -> bool:
    """Take a piece of news to tell it; False when somebody has."""
    return bool(change("UPDATE notice SET outcome = ? WHERE key = ? AND outcome = ?", (SENDING, key, WAITING)))


def finish(key: str, outcome: str) -> None:
    """Note what became of it; `waiting` to have it told again."""
    change("UPDATE notice SET outcome = ? WHERE key = ?", (outcome, key))


def release_claimed() -> int:
    """Have told again what was on its way when the agent ended; at start. Returns how many."""
    return change("UPDATE notice SET outcome = ? WHERE outcome = ?", (WAITING, SENDING))


def read_waiting(since: float, limit: int = 100) -> list[NoticeRow]:
    """Return what is to be told and is no older than `since`, the oldest first."""
    rows = query(
        "SELECT key, at, outcome FROM notice WHERE outcome = ? AND at >= ? ORDER BY at LIMIT ?", (WAITING, since, limit)
    )
    return [NoticeRow(*row) for row in rows]
