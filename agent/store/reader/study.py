"""Reads of what belongs to one study.

Job: series, history, quality reports and their pictures, de-identification, jobs, reports, commands. Place:
called by ``web`` only. Every answer is bounded and reads through the index on the study. It must never write.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields

from peewee import fn

from agent.store.reader.rows import first_of, rows_of
from agent.store.schema import (
    Command,
    DeidAction,
    History,
    Job,
    QcPicture,
    QcReportRow,
    Report,
    Series,
    Study,
    UploadObject,
)


@dataclass(frozen=True, slots=True)
class SeriesLine:
    """A series of a study."""

    series_uid: str
    modality: str
    description: str
    number: str
    instances_received: int
    instances_expected: int | None
    last_arrival_at: float


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """A step in the life of a study."""

    seq: int
    revision: int
    from_status: str | None
    to_status: str
    trigger: str
    by: str
    at: float
    detail_json: str


@dataclass(frozen=True, slots=True)
class QcLine:
    """A quality report with the names of its pictures."""

    id: int
    revision: int
    verdict: str
    score: float | None
    profile: str
    body_json: str
    created_at: float
    pictures: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class DeidLine:
    """How often de-identification did one thing to one attribute."""

    tag: str
    keyword: str
    action: str
    count: int

    @property
    def names_a_standard(self) -> bool:
        """Whether the attribute holds a UID of the Standard, which names a class and no patient and stays as it is."""
        return self.keyword.endswith(("SOPClassUID", "SyntaxUID")) and self.action == "UID replaced"

    @property
    def is_kept(self) -> bool:
        """Whether the value left the house as it was."""
        return (
            self.names_a_standard
            or self.action == "K"
            or "kept" in self.action.lower()
            or "keep" in self.action.lower()
        )


@dataclass(frozen=True, slots=True)
class JobLine:
    """A piece of work for a study."""

    kind: str
    state: str
    revision: int
    attempts: int
    next_at: float | None
    order_id: str | None
    error_code: str | None
    updated_at: float


@dataclass(frozen=True, slots=True)
class ReportLine:
    """A file that the analysis returned."""

    id: int
    revision: int
    order_id: str
    name: str
    media_type: str
    sha256: str
    size_bytes: int
    superseded: bool
    stored_at: float


@dataclass(frozen=True, slots=True)
class CommandLine:
    """A command of a person and what became of it."""

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


def read_series(study_id: str) -> list[SeriesLine]:
    """Return the series of a study in the order of their numbers."""
    columns = tuple(getattr(Series, field.name) for field in fields(SeriesLine))
    rows = [SeriesLine(*row) for row in rows_of(Series.select(*columns).where(Series.study == study_id).limit(2000))]
    return sorted(rows, key=lambda s: (int(s.number) if s.number.isdigit() else 10**9, s.series_uid))


def read_history(study_id: str, limit: int = 500) -> list[HistoryLine]:
    """Return the latest steps of a study, oldest first."""
    columns = tuple(getattr(History, field.name) for field in fields(HistoryLine))
    rows = History.select(*columns).where(History.study_id == study_id).order_by(History.seq.desc()).limit(limit)
    return [HistoryLine(*row) for row in rows_of(rows)][::-1]


def study_uid(study_id: str) -> str:
    """Return the Study Instance UID; shown only together with the identifiers."""
    return str(Study.select(Study.study_uid).where(Study.id == study_id).scalar() or "")


def sealed_identifiers(study_id: str) -> bytes | None:
    """Return the sealed identifiers of a study's patient; the caller unseals them and writes that to the audit."""
    body = Study.select(Study.identifiers).where(Study.id == study_id).scalar()
    return None if body is None else bytes(body)


def read_qc(study_id: str, revision: int | None = None) -> QcLine | None:
    """Return the latest quality report of a study (of one revision when named)."""
    rows = QcReportRow.select().where(QcReportRow.study_id == study_id)
    if revision is not None:
        rows = rows.where(QcReportRow.revision == revision)
    row = rows.order_by(QcReportRow.id.desc()).first()
    if row is None:
        return None
    pictures = (
        QcPicture.select(QcPicture.name, QcPicture.caption).where(QcPicture.report == row.id).order_by(QcPicture.id)
    )
    shown = tuple((str(name), str(caption)) for name, caption in rows_of(pictures))
    return QcLine(
        row.id, row.revision, row.verdict, row.score, row.profile, row.body_json, row.created_at, shown
    )  # fmt: skip


def read_qc_reasons(study_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the reasons of the latest quality report of each of these studies, the worst first."""
    latest = QcReportRow.select(fn.MAX(QcReportRow.id)).where(QcReportRow.study_id.in_(list(study_ids)))
    found = QcReportRow.select(
        QcReportRow.study_id, fn.json_extract(QcReportRow.body_json, "$.reasons"),
        fn.json_extract(QcReportRow.body_json, "$.because"),
    ).where(QcReportRow.id.in_(latest.group_by(QcReportRow.study_id)))  # fmt: skip
    told: dict[str, tuple[str, ...]] = {}
    for study_id, reasons, because in rows_of(found):
        listed = [reason for reason in json.loads(str(reasons or "[]")) if isinstance(reason, str)]
        told[str(study_id)] = tuple(listed or ([str(because)] if because else []))
    return told


def read_picture(study_id: str, report_id: int, name: str) -> bytes | None:
    """Return a picture (PNG) of a quality report of this study."""
    body = (
        QcPicture.select(QcPicture.body)
        .join(QcReportRow)
        .where(QcReportRow.study_id == study_id, QcPicture.report == report_id, QcPicture.name == name)
        .scalar()
    )
    return None if body is None else bytes(body)


def read_pictures(report_id: int) -> list[tuple[str, str, bytes]]:
    """Return name, caption and PNG bytes of the pictures of a quality report."""
    rows = QcPicture.select(QcPicture.name, QcPicture.caption, QcPicture.body).where(QcPicture.report == report_id)
    return [(name, caption, bytes(body)) for name, caption, body in rows_of(rows.order_by(QcPicture.id))]


def read_deid(study_id: str, revision: int) -> list[DeidLine]:
    """Return what de-identification did in one revision, counted, in the order of the tags."""
    rows = (
        DeidAction.select(DeidAction.tag, DeidAction.keyword, DeidAction.action, fn.SUM(DeidAction.count))
        .where(DeidAction.study_id == study_id, DeidAction.revision == revision)
        .group_by(DeidAction.tag, DeidAction.keyword, DeidAction.action)
        .order_by(DeidAction.tag)
        .limit(3000)
    )
    return [DeidLine(*row) for row in rows_of(rows)]


def read_jobs(study_id: str, limit: int = 20) -> list[JobLine]:
    """Return the latest jobs of a study, the newest first."""
    columns = tuple(getattr(Job, field.name) for field in fields(JobLine))
    rows = Job.select(*columns).where(Job.study_id == study_id).order_by(Job.created_at.desc()).limit(limit)
    return [JobLine(*row) for row in rows_of(rows)]


def read_excluded(study_id: str, revision: int) -> list[tuple[str, int]]:
    """Return why objects of a revision were left out of the upload, and how many for each reason."""
    rows = (
        UploadObject.select(UploadObject.excluded_because, fn.COUNT(UploadObject.id))
        .join(Job)
        .where(Job.study_id == study_id, Job.revision == revision, UploadObject.state == "excluded")
        .group_by(UploadObject.excluded_because)
    )
    return [(str(reason or ""), int(count)) for reason, count in rows_of(rows)]


_REPORT = (
    Report.id, Report.revision, Report.order_id, Report.name, Report.media_type, Report.sha256,
    fn.LENGTH(Report.body), Report.superseded, Report.stored_at,
)  # fmt: skip


def read_reports(study_id: str) -> list[ReportLine]:
    """Return the files that the analysis returned, current ones first, then the newest."""
    rows = (
        Report.select(*_REPORT)
        .where(Report.study_id == study_id)
        .order_by(Report.superseded, Report.id.desc())
        .limit(200)
    )
    return [ReportLine(*row) for row in rows_of(rows)]


def read_report_body(study_id: str, report_id: int) -> tuple[ReportLine, bytes] | None:
    """Return a file that the analysis returned for this study."""
    row = first_of(Report.select(*_REPORT, Report.body).where(Report.id == report_id, Report.study_id == study_id))
    return None if row is None else (ReportLine(*row[:-1]), bytes(row[-1]))


_COMMAND = tuple(getattr(Command, field.name) for field in fields(CommandLine))


def read_commands(study_id: str, limit: int = 20) -> list[CommandLine]:
    """Return the latest commands given to a study, the newest first."""
    rows = Command.select(*_COMMAND).where(Command.study_id == study_id).order_by(Command.id.desc()).limit(limit)
    return [CommandLine(*row) for row in rows_of(rows)]


def read_command(command_id: int) -> CommandLine | None:
    """Return one command."""
    row = first_of(Command.select(*_COMMAND).where(Command.id == command_id))
    return None if row is None else CommandLine(*row)
