"""Jobs: one piece of work for one revision of a study.

Job: keep what is to be done, when, and how often it was tried. Place: created in the transaction of a transition,
claimed and finished by the actor that owns the kind. Writes run inside operations of the writer. A job must never run
for a revision that has passed.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.store.database import change, query

KINDS = ("qc", "upload", "watch")


@dataclass(frozen=True, slots=True)
class NewJob:
    """Work to be created.

    Attributes
    ----------
    kind : str
        ``qc``, ``upload`` or ``watch``.
    body : mapping
        What the owner of the kind needs, free of patient data.
    order_id : str, optional
        The order in the cloud that it serves.
    next_at : float, optional
        Not before this time.
    """

    kind: str
    body: Mapping[str, object] = field(default_factory=dict)
    order_id: str | None = None
    next_at: float | None = None


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job as its row says."""

    id: str
    study_id: str
    revision: int
    kind: str
    state: str
    attempts: int
    next_at: float | None
    order_id: str | None
    error_code: str | None
    body_json: str
    created_at: float
    updated_at: float

    @property
    def body(self) -> dict[str, Any]:
        """What the owner of the kind needs."""
        body: dict[str, Any] = json.loads(self.body_json)
        return body


_COLUMNS = ", ".join(JobRow.__slots__)


def create(study_id: str, revision: int, job: NewJob, at: float) -> str:
    """Queue a job; returns its id."""
    if job.kind not in KINDS:
        raise ValueError(f"{job.kind} is no kind of job.")
    job_id = str(uuid.uuid4())
    change(
        f"INSERT INTO job ({_COLUMNS}) VALUES (?,?,?,?,'queued',0,?,?,NULL,?,?,?)",  # noqa: S608
        (job_id, study_id, revision, job.kind, job.next_at, job.order_id, json.dumps(dict(job.body)), at, at),
    )
    return job_id


def claim(job_id: str, at: float) -> JobRow | None:
    """Take a job that is queued or waiting and count the attempt; None when somebody else did or it was cancelled."""
    taken = change(
        "UPDATE job SET state = 'running', attempts = attempts + 1, updated_at = ? "
        "WHERE id = ? AND state IN ('queued', 'waiting')",
        (at, job_id),
    )
    return read_job(job_id) if taken else None


def reschedule(job_id: str, next_at: float, error_code: str | None, at: float) -> None:
    """Let a running job wait for its next attempt."""
    change(
        "UPDATE job SET state = 'waiting', next_at = ?, error_code = ?, updated_at = ? WHERE id = ? AND "
        "state = 'running'",
        (next_at, error_code, at, job_id),
    )


def finish(job_id: str, at: float, *, error_code: str | None = None) -> bool:
    """End a job, as failed when there is an error code; False when it had been cancelled meanwhile."""
    state = "failed" if error_code else "done"
    return bool(
        change(
            "UPDATE job SET state = ?, error_code = ?, updated_at = ? WHERE id = ? AND state IN "
            "('queued','running','waiting')",
            (state, error_code, at, job_id),
        )
    )


def save_body(job_id: str, body: Mapping[str, object], at: float) -> None:
    """Replace what the owner of the kind keeps with the job."""
    change("UPDATE job SET body_json = ?, updated_at = ? WHERE id = ?", (json.dumps(dict(body)), at, job_id))


def cancel(study_id: str, at: float, kind: str | None = None) -> int:
    """Cancel the living jobs of a study, of one kind or all; returns how many."""
    return change(
        "UPDATE job SET state = 'cancelled', updated_at = ? WHERE study_id = ? AND state IN "
        "('queued','running','waiting') "
        "AND (?3 IS NULL OR kind = ?3)",
        (at, study_id, kind),
    )


def cancel_older(study_id: str, revision: int, at: float) -> int:
    """Cancel the living jobs of revisions before `revision`; returns how many."""
    return change(
        "UPDATE job SET state = 'cancelled', updated_at = ? WHERE study_id = ? AND revision < ? "
        "AND state IN ('queued','running','waiting')",
        (at, study_id, revision),
    )


def requeue_running(at: float) -> int:
    """Queue again what was running when the agent ended; at start, before anybody claims. Returns how many."""
    return change("UPDATE job SET state = 'queued', updated_at = ? WHERE state = 'running'", (at,))


def due_jobs(now: float, kind: str | None = None, limit: int = 1000) -> list[JobRow]:
    """Return jobs that may start now, the oldest first."""
    rows = query(
        f"SELECT {_COLUMNS} FROM job WHERE state IN ('queued', 'waiting') AND (next_at IS NULL OR "  # noqa: S608
        "next_at <= ?1) "
        "AND (?2 IS NULL OR kind = ?2) ORDER BY created_at, id LIMIT ?3",
        (now, kind, limit),
    )
    return [JobRow(*row) for row in rows]


def read_job(job_id: str) -> JobRow | None:
    """Return a job, None when there is none of this id."""
    rows = query(f"SELECT {_COLUMNS} FROM job WHERE id = ?", (job_id,))  # noqa: S608
    return JobRow(*rows[0]) if rows else None


def living_jobs(study_id: str, kind: str | None = None) -> list[JobRow]:
    """Return the jobs of a study that are not over, the newest first."""
    rows = query(
        f"SELECT {_COLUMNS} FROM job WHERE study_id = ?1 AND state IN ('queued','running','waiting') "  # noqa: S608
        "AND (?2 IS NULL OR kind = ?2) ORDER BY revision DESC, created_at DESC",
        (study_id, kind),
    )
    return [JobRow(*row) for row in rows]
