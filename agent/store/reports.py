"""Reports: of quality control and of the analysis.

Job: keep them with their revision. Place: written inside operations of the writer, by the QC dispatcher and the
result watcher; read by the dashboard. A report of an earlier revision must never look like the present one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from agent.store.database import change, change_many, query


class PictureLike(Protocol):
    """A picture of a quality report, as ``agent.qc`` makes it."""

    @property
    def name(self) -> str:
        """File name without folder."""

    @property
    def caption(self) -> str:
        """One line under it."""

    @property
    def png(self) -> bytes:
        """The PNG."""


@dataclass(frozen=True, slots=True)
class QcReportRecord:
    """A quality report as it is kept."""

    id: int
    study_id: str
    revision: int
    verdict: str
    score: float | None
    profile: str
    body_json: str
    created_at: float


@dataclass(frozen=True, slots=True)
class ReportRecord:
    """A file that the analysis returned, without its body."""

    id: int
    study_id: str
    revision: int
    order_id: str
    name: str
    media_type: str
    sha256: str
    superseded: bool
    stored_at: float


@dataclass(frozen=True, slots=True)
class NewReport:
    """A file of the analysis to keep."""

    order_id: str
    name: str
    media_type: str
    body: bytes


def store_qc_report(report: QcReportRecord, pictures: Iterable[PictureLike] = ()) -> int:
    """Keep a quality report (its `id` is ignored); one of the same revision is replaced. Returns its id."""
    change("DELETE FROM qc_report WHERE study_id = ? AND revision = ?", (report.study_id, report.revision))
    rows = query(
        "INSERT INTO qc_report (study_id, revision, verdict, score, profile, body_json, created_at) "
        "VALUES (?,?,?,?,?,?,?) "
        "RETURNING id",
        (
            report.study_id,
            report.revision,
            report.verdict,
            report.score,
            report.profile,
            report.body_json,
            report.created_at,
        ),
    )
    report_id = int(rows[0][0])
    change_many(
        "INSERT INTO qc_picture (report_id, name, caption, body) VALUES (?,?,?,?)",
        [(report_id, p.name, p.caption, p.png) for p in pictures],
    )
    return report_id


def read_qc_report(study_id: str, revision: int | None = None) -> QcReportRecord | None:
    """Return the quality report of a revision, or the latest; None when there is none."""
    rows = query(
        "SELECT id, study_id, revision, verdict, score, profile, body_json, created_at FROM qc_report "
        "WHERE study_id = ?1 "
        "AND (?2 IS NULL OR revision = ?2) ORDER BY revision DESC LIMIT 1",
        (study_id, revision),
    )
    return QcReportRecord(*rows[0]) if rows else None


def store_report(study_id: str, revision: int, report: NewReport, at: float) -> None:
    """Keep a file of the analysis; the same order's file of this name is replaced: fetching twice is harmless."""
    change(
        "INSERT INTO report (study_id, revision, order_id, name, media_type, sha256, body, superseded, stored_at) "
        "VALUES (?,?,?,?,?,?,?,0,?) ON CONFLICT (order_id, name) DO UPDATE SET media_type = excluded.media_type, "
        "sha256 = excluded.sha256, body = excluded.body, stored_at = excluded.stored_at",
        (study_id, revision, report.order_id, report.name, report.media_type, hashlib.sha256(report.body).hexdigest(),
         report.body, at),
    )  # fmt: skip


def supersede(study_id: str, revision: int) -> int:
    """Mark the reports of revisions before `revision` as superseded; returns how many."""
    return change(
        "UPDATE report SET superseded = 1 WHERE study_id = ? AND revision < ? AND NOT superseded", (study_id, revision)
    )


def read_reports(study_id: str, revision: int | None = None) -> list[ReportRecord]:
    """Return the files of the analysis, the newest revision first."""
    rows = query(
        "SELECT id, study_id, revision, order_id, name, media_type, sha256, superseded, stored_at FROM report "
        "WHERE study_id = ?1 AND (?2 IS NULL OR revision = ?2) ORDER BY revision DESC, name",
        (study_id, revision),
    )
    return [ReportRecord(*(*row[:7], bool(row[7]), row[8])) for row in rows]


def read_report_body(report_id: int) -> bytes | None:
    """Return the bytes of a file of the analysis, None when it is gone."""
    rows = query("SELECT body FROM report WHERE id = ?", (report_id,))
    return bytes(rows[0][0]) if rows else None
