"""Commands of people.

Job: carry a command from web or command line to the study and its outcome back. Place: any process inserts; the
engine's command inbox claims, the study finishes. A command must never be lost between claim and outcome: what was
claimed when the agent ended is claimed again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from agent.store import audit
from agent.store.database import change, query, transact


@dataclass(frozen=True, slots=True)
class NewCommand:
    """What somebody wants done to a study."""

    study_id: str
    verb: str
    by: str
    role: str
    reason: str = ""
    source: str = "cli"  # or the address it came from


@dataclass(frozen=True, slots=True)
class CommandRow:
    """A command as its row says: `requested`, `claimed`, `done` or `refused`."""

    id: int
    study_id: str
    verb: str
    reason: str
    by: str
    role: str
    at: float
    state: str
    outcome: str
    finished_at: float | None


_COLUMNS = "id, study_id, verb, reason, by, role, at, state, outcome, finished_at"


def insert_command(command: NewCommand) -> int:
    """Insert a command with its audit row, committed when this returns; from any process. Returns its id.

    Raises
    ------
    StorageError
        When the database did not take it.
    """

    def insert() -> int:
        at = time.time()
        rows = query(
            "INSERT INTO command (study_id, verb, reason, by, role, at, state, outcome) VALUES "
            "(?,?,?,?,?,?,'requested','') "
            "RETURNING id",
            (command.study_id, command.verb, command.reason, command.by, command.role, at),
        )
        audit.append_in_transaction(
            audit.Entry(
                actor=command.by,
                role=command.role,
                source=command.source,
                action="command",
                object=command.study_id,
                detail={"verb": command.verb, "reason": command.reason, "command": rows[0][0]},
            ),
            at,
        )
        return int(rows[0][0])

    return transact(insert)


def claim_requested() -> list[CommandRow]:
    """Claim every command that was requested, in order; inside a writer operation."""
    rows = query(f"UPDATE command SET state = 'claimed' WHERE state = 'requested' RETURNING {_COLUMNS}")  # noqa: S608
    return sorted((CommandRow(*row) for row in rows), key=lambda command: command.id)


def release_claimed() -> int:
    """Make claimed commands requested again; at start, inside a writer operation. Returns how many."""
    return change("UPDATE command SET state = 'requested' WHERE state = 'claimed'")


def finish(command_id: int, outcome: str, *, done: bool, at: float) -> None:
    """Tell who gave a command what became of it; inside a writer operation."""
    change(
        "UPDATE command SET state = ?, outcome = ?, finished_at = ? WHERE id = ? AND state IN ('requested', 'claimed')",
        ("done" if done else "refused", outcome, at, command_id),
    )


def read_command(command_id: int) -> CommandRow | None:
    """Return a command, None when there is none of this id."""
    rows = query(f"SELECT {_COLUMNS} FROM command WHERE id = ?", (command_id,))  # noqa: S608
    return CommandRow(*rows[0]) if rows else None
