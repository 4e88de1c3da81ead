"""Reads of what runs: associations, alarms, queues, figures, the change mark of the database.

Job: small answers about the agent itself. Place: called by ``web`` only; each reads through an index and is
bounded. It must never write.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from peewee import SQL, fn

from agent.store.associations import AssociationRow
from agent.store.reader.rows import first_of, rows_of
from agent.store.schema import Alarm, Association, Command, History, Job, Study, database


@dataclass(frozen=True, slots=True)
class AlarmLine:
    """Something a human must know."""

    code: str
    severity: str
    text: str
    hint: str
    raised_at: float


@dataclass(frozen=True, slots=True)
class QueueLine:
    """How many jobs of one kind are in one state, and how long the oldest has been there."""

    kind: str
    state: str
    count: int
    oldest_at: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What a window of time held."""

    received: int
    delivered: int
    passed: int
    failed: int
    review: int
    received_objects: int
    received_bytes: int


_ASSOCIATION = tuple(getattr(Association, field.name) for field in fields(AssociationRow))


def open_associations(limit: int = 200) -> list[AssociationRow]:
    """Return the associations that are open now, the newest first."""
    rows = Association.select(*_ASSOCIATION).where(Association.closed_at.is_null(), Association.outcome == "open")
    return [AssociationRow(*row) for row in rows_of(rows.order_by(Association.opened_at.desc()).limit(limit))]


def recent_associations(limit: int = 50, *, refused: bool = False) -> list[AssociationRow]:
    """Return associations that are over (only refused ones when asked), the newest first."""
    rows = Association.select(*_ASSOCIATION).where(Association.outcome != "open")
    if refused:
        rows = rows.where((Association.outcome == "refused") | (Association.refused_objects > 0))
    return [AssociationRow(*row) for row in rows_of(rows.order_by(Association.opened_at.desc()).limit(limit))]


def open_alarms() -> list[AlarmLine]:
    """Return the alarms that are open, errors first."""
    columns = tuple(getattr(Alarm, field.name) for field in fields(AlarmLine))
    rows = Alarm.select(*columns).where(Alarm.cleared_at.is_null()).order_by(Alarm.severity, Alarm.raised_at).limit(100)
    return [AlarmLine(*row) for row in rows_of(rows)]


def queues() -> list[QueueLine]:
    """Return the jobs that are not over, by kind and state."""
    rows = (
        Job.select(Job.kind, Job.state, fn.COUNT(Job.id), fn.MIN(Job.updated_at))
        .where(Job.state.in_(("queued", "running", "waiting")))
        .group_by(Job.kind, Job.state)
        .order_by(Job.kind, Job.state)
    )
    return [QueueLine(*row) for row in rows_of(rows)]


def commands_waiting() -> int:
    """Return how many commands of people no study has taken yet."""
    return int(Command.select(fn.COUNT(Command.id)).where(Command.state == "requested").scalar())


def figures(since: float) -> Figures:
    """Return the figures of the time since `since`; reads the studies that changed since then."""
    first = History.select(fn.MIN(History.seq)).where(History.seq > _seq_before(since)).scalar()
    steps: dict[str, int] = {}
    if first is not None:
        rows = (
            History.select(History.trigger, fn.COUNT(fn.DISTINCT(History.study_id)))
            .where(History.seq >= first)
            .group_by(History.trigger)
        )
        steps = {str(trigger): int(count) for trigger, count in rows_of(rows)}
    received = Study.select(fn.COUNT(SQL("1")), fn.SUM(Study.instances_received)).where(
        Study.updated_at >= since, Study.last_arrival_at >= since
    )
    studies, objects = first_of(received) or (0, 0)
    traffic = Association.select(fn.SUM(Association.bytes)).where(Association.opened_at >= since).scalar()
    return Figures(
        int(studies or 0), steps.get("report_stored", 0), steps.get("qc_pass", 0), steps.get("qc_fail", 0),
        steps.get("qc_review", 0), int(objects or 0), int(traffic or 0),
    )  # fmt: skip


def _seq_before(at: float) -> int:
    """Return the last step before `at`, by bisection on the primary key (steps are written in the order of time)."""
    low, high = 0, int(History.select(fn.MAX(History.seq)).scalar() or 0)
    while low < high:
        middle = (low + high + 1) // 2
        row = first_of(History.select(History.seq, History.at).where(History.seq >= middle).order_by(History.seq))
        if row is not None and row[1] < at:
            low = max(middle, int(row[0]))
        else:
            high = middle - 1
    return low


def last_step() -> int:
    """Return the number of the last step in any study's history."""
    return int(History.select(fn.MAX(History.seq)).scalar() or 0)


def studies_stepped_since(seq: int, limit: int = 500) -> tuple[list[str], int]:
    """Return the studies that took a step after `seq`, and the number of the last step looked at."""
    rows = rows_of(
        History.select(History.seq, History.study_id).where(History.seq > seq).order_by(History.seq).limit(limit)
    )
    return list(dict.fromkeys(str(study_id) for _, study_id in rows)), int(rows[-1][0]) if rows else seq


def count_objects() -> int:
    """Return how many objects the studies that are kept hold."""
    return int(Study.select(fn.SUM(Study.instances_received)).where(~Study.deleted).scalar() or 0)


def data_version() -> int:
    """Return a number that changes when another connection has committed; costs microseconds."""
    return int(database.execute_sql("PRAGMA data_version").fetchone()[0])
