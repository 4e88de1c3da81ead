"""The tables.

Job: every table and column once, with who writes it. Place: used by the aggregates of ``store`` and by nothing above
it. Times are seconds since the epoch, UTC (``*_at``). Columns that hold JSON end in ``_json``. It must never hold
behaviour.

Writers: the engine's writer thread writes everything but users, sessions, tokens, commands (their insertion) and
audit, which any process appends to in short ``BEGIN IMMEDIATE`` transactions.
"""

from __future__ import annotations

from agent.store.schema.base import Meta, Table, database
from agent.store.schema.operations import Alarm, Association, Audit, Command, Notice, Session, Token, User
from agent.store.schema.studies import (
    NEEDS_A_PERSON,
    Duplicate,
    History,
    Instance,
    Measurement,
    Segment,
    Series,
    Study,
    StudyKeyRow,
)
from agent.store.schema.work import (
    DeidAction,
    Job,
    Pseudonym,
    QcPicture,
    QcReportRow,
    Report,
    UidMapping,
    UploadObject,
    UploadPart,
)

SCHEMA_VERSION = 1

TABLES: tuple[type[Table], ...] = (
    Meta, StudyKeyRow, Study, Series, Instance, Duplicate, Segment, Measurement, History, Job, UploadObject,
    UploadPart, QcReportRow, QcPicture,
    DeidAction, Report, Pseudonym, UidMapping, Association, Alarm, Command, User, Session, Token, Audit, Notice,
)  # fmt: skip

__all__ = [
    "NEEDS_A_PERSON",
    "SCHEMA_VERSION",
    "TABLES",
    "Alarm",
    "Association",
    "Audit",
    "Command",
    "DeidAction",
    "Duplicate",
    "History",
    "Instance",
    "Job",
    "Measurement",
    "Meta",
    "Notice",
    "Pseudonym",
    "QcPicture",
    "QcReportRow",
    "Report",
    "Segment",
    "Series",
    "Session",
    "Study",
    "StudyKeyRow",
    "Table",
    "Token",
    "UidMapping",
    "UploadObject",
    "UploadPart",
    "User",
    "database",
]
