"""Reading studies, series and instances.

Job: typed mirrors of rows. Place: read by actors when they start, by export and by de-identification; in any thread.
It must never write.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from agent.errors import StorageError
from agent.store.database import current, query
from agent.store.objects import ObjectRef
from agent.study import FailedStep, StudyFlags, StudyStatus


@dataclass(frozen=True, slots=True)
class StudyRow:
    """A study as its row says."""

    id: str
    study_uid: str
    status: StudyStatus
    revision: int
    held: bool
    needs_review: bool
    incomplete: bool
    conflict: bool
    quarantined: bool
    deleted: bool
    failed_step: FailedStep | None
    failure_code: str | None
    failure_text: str | None
    patient: str
    identifiers: bytes | None
    study_date: str
    study_time: str
    modality: str
    description: str
    description_identifies: bool
    source_aet: str
    series_received: int
    series_expected: int | None
    instances_received: int
    instances_expected: int | None
    first_arrival_at: float
    last_arrival_at: float
    completeness_json: str
    deadline_at: float | None
    qc_done: int
    qc_total: int
    qc_verdict: str | None
    qc_score: float | None
    order_id: str | None
    upload_done_bytes: int
    upload_total_bytes: int
    upload_done_objects: int
    upload_total_objects: int
    upload_problem: str
    cloud_progress: int
    crashes: int
    status_at: float
    updated_at: float

    @property
    def flags(self) -> StudyFlags:
        """The flags together."""
        return StudyFlags(self.held, self.needs_review, self.incomplete, self.conflict, self.quarantined, self.deleted)


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """A series as its row says."""

    id: int
    study_id: str
    series_uid: str
    modality: str
    description: str
    number: str
    instances_received: int
    instances_expected: int | None
    last_arrival_at: float


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """A stored version of an instance as its row says."""

    id: int
    study_id: str
    series_uid: str
    sop_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    size_bytes: int
    sha256: str
    key_id: str
    segment: str
    offset: int
    length: int
    revision: int
    version: int
    active: bool
    association_id: str
    calling_aet: str
    called_aet: str
    received_at: float
    facts_json: str

    @property
    def facts(self) -> dict[str, Any]:
        """The header facts, free of identifiers."""
        facts: dict[str, Any] = json.loads(self.facts_json)
        return facts

    def ref(self) -> ObjectRef:
        """Return what a reader of objects needs."""
        return ObjectRef(
            self.id, self.segment, self.offset, self.length, self.key_id, self.size_bytes, self.sha256,
            self.sop_class_uid, self.sop_uid, self.series_uid, self.transfer_syntax_uid,
        )  # fmt: skip


STUDY_COLUMNS = ", ".join(StudyRow.__slots__)
_SERIES_COLUMNS = ", ".join(SeriesRow.__slots__)
_INSTANCE_COLUMNS = ", ".join(f'"{name}"' for name in InstanceRow.__slots__)
_STUDY_BOOLS = tuple(
    StudyRow.__slots__.index(n)
    for n in (
        "held", "needs_review", "incomplete", "conflict", "quarantined", "deleted", "description_identifies",
    )
)  # fmt: skip
_AT = {name: number for number, name in enumerate(StudyRow.__slots__)}
_ACTIVE_AT = InstanceRow.__slots__.index("active")


def _study(values: tuple[Any, ...]) -> StudyRow:
    columns = list(values)
    for number in _STUDY_BOOLS:
        columns[number] = bool(columns[number])
    columns[_AT["status"]] = StudyStatus(columns[_AT["status"]])
    step = columns[_AT["failed_step"]]
    columns[_AT["failed_step"]] = FailedStep(step) if step else None
    return StudyRow(*columns)


def read_study(study_id: str) -> StudyRow | None:
    """Return a study, None when there is none of this id."""
    rows = query(f"SELECT {STUDY_COLUMNS} FROM study WHERE id = ?", (study_id,))  # noqa: S608
    return _study(rows[0]) if rows else None


def resolve(study_id_or_uid: str) -> str:
    """Return the id of a study named by its id or its Study Instance UID.

    Raises
    ------
    StorageError
        When the store holds no such study.
    """
    by_uid = current().keyring.study_id(study_id_or_uid)
    rows = query("SELECT id FROM study WHERE id IN (?, ?)", (study_id_or_uid, by_uid))
    if not rows:
        raise StorageError(
            "The store holds no such study.", code="study_unknown", hint="`agent study list` shows what it holds."
        )
    return str(rows[0][0])


def read_series(study_id: str) -> list[SeriesRow]:
    """Return the series of a study by number, then UID."""
    rows = query(
        f"SELECT {_SERIES_COLUMNS} FROM series WHERE study_id = ? "  # noqa: S608
        "ORDER BY CAST(number AS INTEGER), series_uid",
        (study_id,),
    )
    return [SeriesRow(*row) for row in rows]


def read_instances(study_id: str, active_only: bool = True, up_to_revision: int | None = None) -> list[InstanceRow]:
    """Return the stored instances of a study in the order they arrived.

    Parameters
    ----------
    study_id : str
        Whose.
    active_only : bool, optional
        Leave out versions that an earlier one with other bytes stands before.
    up_to_revision : int, optional
        Leave out what arrived for a later revision (late images that are kept aside).
    """
    rows = query(
        f"SELECT {_INSTANCE_COLUMNS} FROM instance WHERE study_id = ? AND active >= ? AND revision <= ? "  # noqa: S608
        "ORDER BY id",
        (study_id, int(active_only), up_to_revision if up_to_revision is not None else 2**31),
    )
    return [_instance(row) for row in rows]


def read_instance(instance_id: int) -> InstanceRow | None:
    """Return one stored instance, None when it is gone."""
    rows = query(f"SELECT {_INSTANCE_COLUMNS} FROM instance WHERE id = ?", (instance_id,))  # noqa: S608
    return _instance(rows[0]) if rows else None


def _instance(values: Iterable[Any]) -> InstanceRow:
    columns = list(values)
    columns[_ACTIVE_AT] = bool(columns[_ACTIVE_AT])
    return InstanceRow(*columns)


def due_studies(now: float, limit: int = 1000) -> list[str]:
    """Return the ids of studies whose deadline has come, the oldest first."""
    rows = query(
        "SELECT id FROM study WHERE deadline_at <= ? ORDER BY deadline_at LIMIT ?",
        (now, limit),
    )
    return [row[0] for row in rows]


def studies_past_retention(before: float, limit: int) -> list[str]:
    """Return the ids of studies that were delivered before a time and that nothing keeps, the oldest first.

    Parameters
    ----------
    before : float
        Seconds since the epoch.
    limit : int
        How many at most.
    """
    rows = query(
        "SELECT id FROM study WHERE status = ? AND status_at < ? AND NOT (held OR needs_review OR conflict "
        "OR quarantined OR deleted) AND instances_received <= qc_total ORDER BY status_at LIMIT ?",
        (StudyStatus.DELIVERED.value, before, limit),
    )
    return [row[0] for row in rows]


def unfinished_studies() -> list[str]:
    """Return the ids of studies that something is still to be done for, the longest untouched first.

    A study at rest is among them when images of it came that its last judgement did not count: the agent ended between
    the commit of their index and the study's next step.
    """
    rest = (StudyStatus.DELIVERED.value, StudyStatus.FAILED.value)
    rows = query(
        "SELECT id FROM study WHERE (NOT deleted AND (status NOT IN (?, ?) OR instances_received > qc_total)) "
        "OR (deleted AND instances_received > 0) ORDER BY updated_at",
        rest,
    )
    return [row[0] for row in rows]
