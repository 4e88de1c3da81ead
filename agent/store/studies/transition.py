"""Transitions of studies.

Job: move a study one step, with its history, job, command and audit rows in the same transaction. Place: inside
operations of the writer, called by study actors. It is the only writer of status, flags and revision, and must never
move a study that is no longer where the caller believed it to be.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from agent import metrics
from agent.errors import IllegalTransition, StorageError
from agent.store import audit, jobs
from agent.store.database import change
from agent.store.studies.rows import StudyRow, read_study
from agent.study import StudyFlags, StudyStatus, Trigger, next_status, starts_revision

_FLAGS = frozenset(StudyFlags.__slots__)
_PROGRESS = frozenset(
    {
        "completeness_json", "deadline_at", "qc_done", "qc_total", "qc_verdict", "qc_score", "order_id",
        "upload_done_bytes",
        "upload_total_bytes", "upload_done_objects", "upload_total_objects", "upload_problem", "cloud_progress",
        "crashes",
        "series_expected", "instances_expected",
    }
)  # fmt: skip
_CHANGEABLE = _PROGRESS | {"failed_step", "failure_code", "failure_text"}
_OF_ONE_REVISION: Mapping[str, object] = {
    "qc_done": 0, "qc_total": 0, "qc_verdict": None, "qc_score": None, "order_id": None, "upload_done_bytes": 0,
    "upload_total_bytes": 0, "upload_done_objects": 0, "upload_total_objects": 0, "upload_problem": "",
    "cloud_progress": 0,
    "needs_review": 0,
}  # fmt: skip
_OF_A_FAILURE: Mapping[str, object] = {"failed_step": None, "failure_code": None, "failure_text": None}


class StaleTransition(IllegalTransition):
    """The study is no longer where the caller believed it to be."""

    default_code = "stale_transition"


@dataclass(frozen=True, slots=True)
class Transition:
    """One step of one study.

    Attributes
    ----------
    study_id, trigger, by
        Which study, what happened, and who did it (``agent``, a user or a token).
    expected_status, expected_revision
        Where the caller believes the study to be.
    detail : mapping
        Goes into the history, free of patient data.
    flags : mapping
        Flags to set or clear.
    changes : mapping
        Plain columns of the study to set with it.
    job : NewJob, optional
        Work that begins with it.
    command_id, command_outcome
        The command that caused it, and what to tell who gave it.
    role : str
        Role of a person, for the audit.
    """

    study_id: str
    trigger: Trigger
    by: str
    expected_status: StudyStatus
    expected_revision: int
    detail: Mapping[str, object] = field(default_factory=dict)
    flags: Mapping[str, bool] = field(default_factory=dict)
    changes: Mapping[str, object] = field(default_factory=dict)
    job: jobs.NewJob | None = None
    command_id: int | None = None
    command_outcome: str = ""
    role: str = ""


def record_transition(transition: Transition, at: float) -> StudyRow:
    """Record one step; inside a writer operation.

    Parameters
    ----------
    transition : Transition
        The step.
    at : float
        When, seconds since the epoch.

    Returns
    -------
    StudyRow
        The study after it.

    Raises
    ------
    IllegalTransition
        When the status does not accept the trigger.
    StaleTransition
        When the study has moved on (other status or revision) or is gone.
    """
    before = transition.expected_status
    after = next_status(before, transition.trigger)
    is_new_revision = starts_revision(before, transition.trigger)
    revision = transition.expected_revision + int(is_new_revision)
    columns = _columns(transition, after, is_new_revision)
    columns |= {"status": after.value, "revision": revision, "updated_at": at}
    if after is not before or is_new_revision:
        columns["status_at"] = at
    assignments = ", ".join(f"{name} = ?" for name in columns)
    moved = change(
        f"UPDATE study SET {assignments} WHERE id = ? AND status = ? AND revision = ?",  # noqa: S608
        (*columns.values(), transition.study_id, before.value, transition.expected_revision),
    )
    if moved != 1:
        raise StaleTransition("The study has moved on; the step was not recorded.")
    if is_new_revision:
        jobs.cancel_older(transition.study_id, revision, at)
    _record_around(transition, after, revision, at)
    metrics.TRANSITIONS.labels(after.value).inc()
    study = read_study(transition.study_id)
    if study is None:
        raise StaleTransition("The study is gone.")
    return study


def _columns(transition: Transition, after: StudyStatus, is_new_revision: bool) -> dict[str, object]:
    unknown = (set(transition.flags) - _FLAGS) | (set(transition.changes) - _CHANGEABLE)
    if unknown:
        raise StorageError(f"A transition cannot set {sorted(unknown)}.", code="transition_columns")
    columns: dict[str, object] = {}
    if is_new_revision:
        columns |= _OF_ONE_REVISION
    if after is not StudyStatus.FAILED:
        columns |= _OF_A_FAILURE
    columns |= {name: int(value) for name, value in transition.flags.items()}
    columns |= {name: getattr(value, "value", value) for name, value in transition.changes.items()}
    return columns


def _record_around(transition: Transition, after: StudyStatus, revision: int, at: float) -> None:
    """Write history, job, command and audit of a step."""
    before = transition.expected_status
    detail = dict(transition.detail)
    change(
        "INSERT INTO history (study_id, revision, from_status, to_status, trigger, by, at, detail_json) "
        "VALUES (?,?,?,?,?,?,?,?)",
        (transition.study_id, revision, before.value, after.value, transition.trigger.value, transition.by, at,
         json.dumps(detail, separators=(",", ":"), default=str)),
    )  # fmt: skip
    if transition.job is not None:
        jobs.create(transition.study_id, revision, transition.job, at)
    if transition.command_id is not None:
        change(
            "UPDATE command SET state = 'done', outcome = ?, finished_at = ? WHERE id = ?",
            (transition.command_outcome, at, transition.command_id),
        )
    audit.append_in_transaction(
        audit.Entry(
            actor=transition.by,
            role=transition.role,
            source="agent",
            action="study_transition",
            object=transition.study_id,
            detail={
                "trigger": transition.trigger.value, "from": before.value, "to": after.value, "revision": revision,
                **({"reason": detail["reason"]} if "reason" in detail else {}),
            },
        ),
        at,
    )  # fmt: skip


def update_progress(study_id: str, revision: int, **columns: object) -> None:
    """Set columns of progress of a revision; inside a writer operation. An older revision's news are dropped.

    Raises
    ------
    StorageError
        When a column is not one of progress: status and flags change through `record_transition` only.
    """
    unknown = set(columns) - _PROGRESS
    if unknown:
        raise StorageError(f"Progress cannot set {sorted(unknown)}.", code="progress_columns")
    if not columns:
        return
    assignments = ", ".join(f"{name} = ?" for name in columns)
    change(
        f"UPDATE study SET {assignments}, updated_at = max(updated_at, unixepoch('subsec')) "  # noqa: S608
        "WHERE id = ? AND revision = ?",
        (*columns.values(), study_id, revision),
    )


def expect_series(study_id: str, expected: Mapping[str, int | None]) -> None:
    """Set how many instances each series should have; inside a writer operation."""
    for series_uid, count in expected.items():
        change(
            "UPDATE series SET instances_expected = ? WHERE study_id = ? AND series_uid = ?",
            (count, study_id, series_uid),
        )
