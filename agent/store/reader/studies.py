"""Reads of lists of studies.

Job: filters, order, pages, counts, what changed since a moment. Place: called by ``web`` only. The order of a
list comes from an index, so that a page costs the same with a hundred thousand studies. It must never write.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from peewee import SQL, Expression, fn

from agent.store.reader.rows import first_of, rows_of
from agent.store.schema import NEEDS_A_PERSON, Study
from agent.study import FailedStep, StudyFlags, StudyStatus

PAGE_SIZE_MAX = 200
SORTS = ("arrived", "updated", "study_date", "patient")
"""Orders of the list; each one is an index of the table (``arrived`` is the row's own order)."""
NEEDS_YOU = "needs_you"
"""As a flag: whatever waits for a person, for any reason."""


@dataclass(frozen=True, slots=True)
class StudyLine:
    """A study as lists, pages and the API show it."""

    id: str
    status: StudyStatus
    revision: int
    held: bool
    needs_review: bool
    incomplete: bool
    conflict: bool
    quarantined: bool
    deleted: bool
    failed_step: str | None
    failure_code: str | None
    failure_text: str | None
    patient: str
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
    status_at: float
    updated_at: float

    @property
    def flags(self) -> StudyFlags:
        """What stands beside the status."""
        return StudyFlags(
            self.held, self.needs_review, self.incomplete, self.conflict, self.quarantined, self.deleted
        )  # fmt: skip

    @property
    def step(self) -> FailedStep | None:
        """The step in which a Failed study failed."""
        return FailedStep(self.failed_step) if self.failed_step else None


@dataclass(frozen=True, slots=True)
class StudyQuery:
    """Filters, order and page of a list of studies."""

    status: tuple[str, ...] = ()
    modality: str = ""
    q: str = ""
    date_from: str = ""
    date_to: str = ""
    patient: str = ""
    description: str = ""
    source_aet: str = ""
    verdict: str = ""
    flag: str = ""
    late_before: float = 0.0
    sort: str = "arrived"
    descending: bool = True
    page: int = 1
    page_size: int = 50
    may_read_descriptions: bool = False


@dataclass(frozen=True, slots=True)
class StudyPage:
    """One page of a list."""

    total: int
    items: tuple[StudyLine, ...]


_COLUMNS = tuple(getattr(Study, field.name) for field in fields(StudyLine))


def _line(row: tuple[object, ...]) -> StudyLine:
    line = StudyLine(*row)  # type: ignore[arg-type]
    object.__setattr__(line, "status", StudyStatus(line.status))
    return line


def _contains(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def _like(column: object, text: str) -> Expression:
    return Expression(column, "ILIKE", SQL("? ESCAPE '\\'", [_contains(text)]))


def _prefix(column: Any, text: str) -> Any:
    """A range instead of LIKE, so that the index of the column serves it."""
    return (column >= text) & (column < text + "\U0010ffff")


def _described(text: str, may_read: bool) -> Expression:
    """Descriptions that identify are not even searched for those who may not read them."""
    found = _like(Study.description, text)
    return found if may_read else found & ~Study.description_identifies


def _filters(query: StudyQuery) -> list[Any]:
    # a plus before a column keeps SQLite from choosing its index: the order's own index serves the first rows at once
    wants_deleted = query.flag == "deleted"
    found: list[Any] = [SQL("t1.deleted = 1" if wants_deleted else "+t1.deleted = 0")]
    is_rare = StudyStatus.DELIVERED.value not in query.status
    if len(query.status) == 1 and (is_rare or query.sort in ("arrived", "updated")):
        found.append(Study.status == query.status[0])
    elif query.status:
        marks = ",".join("?" * len(query.status))
        found.append(SQL(f"+t1.status IN ({marks})", list(query.status)))
    if query.modality:
        found.append(_like(Study.modality, query.modality.upper()))
    if query.date_from:
        found.append(Study.study_date >= query.date_from)
    if query.date_to:
        found.append(Study.study_date <= query.date_to)
    if query.patient:
        found.append(_prefix(Study.patient, query.patient.upper()))
    if query.description:
        found.append(_described(query.description, query.may_read_descriptions))
    if query.source_aet:
        found.append(_like(Study.source_aet, query.source_aet))
    if query.verdict:
        found.append(Study.qc_verdict == query.verdict)
    if query.flag in {"held", "needs_review", "incomplete", "conflict", "quarantined"}:
        found.append(getattr(Study, query.flag))
    if query.flag == NEEDS_YOU:
        late = Study.select(SQL("rowid")).where(*_late(query.late_before))
        flagged = Study.select(SQL("rowid")).where(SQL(NEEDS_A_PERSON))
        found.append(SQL("t1.rowid").in_(flagged) | SQL("t1.rowid").in_(late))
    if query.q:
        q = query.q.strip()
        found.append(
            _prefix(Study.patient, q.upper())
            | _prefix(Study.id, q.lower())
            | _described(q, query.may_read_descriptions)
            | _like(Study.modality, q.upper())
            | _like(Study.source_aet, q)
        )
    return found


def _ordered(select: Any, query: StudyQuery) -> Any:
    keys = {
        "arrived": (SQL("t1.rowid"),),
        "updated": (Study.updated_at, SQL("t1.rowid")),
        "study_date": (Study.study_date, Study.study_time, SQL("t1.rowid")),
        "patient": (Study.patient, SQL("t1.rowid")),
    }[query.sort if query.sort in SORTS else "arrived"]
    return select.order_by(*(key.desc() if query.descending else key.asc() for key in keys))


def study_select(query: StudyQuery) -> Any:
    """Return the SELECT of one page; apart so that a test can look at its plan."""
    size = max(1, min(query.page_size, PAGE_SIZE_MAX))
    rows = Study.select(*_COLUMNS).where(*_filters(query))
    return _ordered(rows, query).limit(size).offset((max(1, query.page) - 1) * size)


def read_studies(query: StudyQuery) -> StudyPage:
    """Return one page of studies and how many there are."""
    total = Study.select(fn.COUNT(SQL("1"))).where(*_filters(query)).scalar()
    return StudyPage(int(total), tuple(_line(row) for row in rows_of(study_select(query))))


def read_rows(query: StudyQuery) -> tuple[StudyLine, ...]:
    """Return one page of studies without counting all."""
    return tuple(_line(row) for row in rows_of(study_select(query)))


def count_by_status() -> dict[str, int]:
    """Return how many studies, tombstones left out, stand in each status; both counts come from an index alone."""
    counts = {status.value: 0 for status in StudyStatus}
    every = Study.select(Study.status, fn.COUNT(SQL("1"))).group_by(Study.status)
    tombstones = every.where(SQL("t1.deleted = 1"))
    for rows, sign in ((every, 1), (tombstones, -1)):
        for status, count in rows_of(rows):
            counts[str(status)] += sign * int(count)
    return counts


def read_line(study_id: str) -> StudyLine | None:
    """Return one study, tombstones too."""
    row = first_of(Study.select(*_COLUMNS).where(Study.id == study_id))
    return None if row is None else _line(row)


def read_lines(study_ids: Sequence[str]) -> list[StudyLine]:
    """Return the studies with these ids, those that there are."""
    return [_line(row) for row in rows_of(Study.select(*_COLUMNS).where(Study.id.in_(list(study_ids))))]


def waiting_for_a_person(limit: int = 20, late_before: float = 0.0) -> list[StudyLine]:
    """Return studies that need someone, the latest first.

    Parameters
    ----------
    limit : int
        The most to return.
    late_before : float
        Unstable studies whose last image came before this moment are waited for in vain.
    """
    rows = [_line(row) for row in rows_of(waiting_select(limit))]
    late = Study.select(*_COLUMNS).where(*_late(late_before)).order_by(Study.updated_at.desc()).limit(limit)
    rows += [_line(row) for row in rows_of(late)]
    return sorted(rows, key=lambda line: line.status_at, reverse=True)[:limit]


def waiting_select(limit: int) -> Any:
    """Return the SELECT of what failed, is held or to be reviewed; apart so that a test can look at its plan."""
    return Study.select(*_COLUMNS).where(SQL(NEEDS_A_PERSON)).order_by(Study.updated_at.desc()).limit(limit)


def _late(before: float) -> tuple[Expression, ...]:
    flagged = Study.held | Study.needs_review | Study.conflict | Study.quarantined
    return Study.status == StudyStatus.UNSTABLE.value, Study.last_arrival_at < before, ~flagged, ~Study.deleted


def count_waiting(late_before: float = 0.0) -> int:
    """Return how many studies need someone."""
    flagged = Study.select(fn.COUNT(SQL("1"))).where(SQL(NEEDS_A_PERSON)).scalar()
    return int(flagged) + int(Study.select(fn.COUNT(SQL("1"))).where(*_late(late_before)).scalar())


def changed_since(updated_at: float, limit: int = 500) -> list[StudyLine]:
    """Return the studies whose row changed at `updated_at` or later, the earliest change first."""
    rows = Study.select(*_COLUMNS).where(Study.updated_at >= updated_at).order_by(Study.updated_at).limit(limit)
    return [_line(row) for row in rows_of(rows)]


def last_update() -> float:
    """Return when a study changed last; 0 when there is none."""
    return float(Study.select(fn.MAX(Study.updated_at)).scalar() or 0.0)
