"""The JSON of the API: one model a shape; the OpenAPI document is made from them.

Place: filled by ``studies``, described by ``openapi``. Additions are free, changes are breaking (interfaces). It
must never hold an identifier: `patient` is the pseudonym.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from agent.store.reader.studies import StudyLine
from agent.store.reader.study import CommandLine, HistoryLine
from agent.study import Verb
from agent.web import words

Verdict = Literal["pass", "fail", "review"]


class Answer(BaseModel):
    """Base of all answers."""

    model_config = ConfigDict(populate_by_name=True)


class Count(Answer):
    """How many came and how many are expected, when that is known."""

    received: int
    expected: int | None


class QcSummary(Answer):
    """Outcome of quality control."""

    verdict: Verdict | None
    score: float | None
    done: int = Field(description="Images measured so far.")
    total: int


class StudyItem(Answer):
    """A study in a list."""

    id: str = Field(description="Opaque, stable.")
    status: str
    revision: int
    patient: str = Field(description="The pseudonym that leaves the hospital.")
    study_datetime: str | None = Field(description="Of the headers, ISO 8601 without a zone.")
    modality: str
    description: str | None = Field(description="None: withheld from this role.")
    series: Count
    instances: Count
    qc: QcSummary
    source_aet: str
    flags: list[str]
    updated_at: str


class StudyList(Answer):
    """A page of studies."""

    total: int
    items: list[StudyItem]


class HistoryItem(Answer):
    """A step in the life of a study."""

    from_status: str | None = Field(alias="from")
    to_status: str = Field(alias="to")
    trigger: str
    by: str
    at: str
    revision: int


class EvidenceItem(Answer):
    """What a judge of completeness said last."""

    evidence: str
    met: bool | None = Field(description="None: the judge cannot tell.")
    detail: str


class Upload(Answer):
    """Progress of the upload and the order."""

    order_id: str | None
    done_objects: int
    total_objects: int
    done_bytes: int
    total_bytes: int
    problem: str
    cloud_progress: int


class ReportFile(Answer):
    """A file that the analysis returned."""

    name: str
    media_type: str
    sha256: str
    bytes: int
    revision: int
    superseded: bool
    stored_at: str
    url: str


class StudyDetail(StudyItem):
    """One study."""

    failure: str | None
    history: list[HistoryItem]
    completeness: list[EvidenceItem]
    upload: Upload
    report: list[ReportFile]
    commands: list[str] = Field(description="Commands allowed now.")


class QcReport(BaseModel):
    """A quality report."""

    model_config = ConfigDict(extra="allow")

    verdict: Verdict
    score: float | None
    profile: str
    series: list[dict[str, Any]]
    checks: list[dict[str, Any]]


class CommandRequest(BaseModel):
    """A command to give."""

    model_config = ConfigDict(extra="forbid")

    verb: Verb
    reason: str = ""


class CommandItem(Answer):
    """A command and what became of it."""

    id: int
    study: str
    verb: str
    reason: str
    by: str
    at: str
    state: Literal["requested", "claimed", "done", "refused"]
    outcome: str
    finished_at: str | None


class ChangedItem(StudyItem):
    """A study that changed."""

    row: str | None = Field(None, description="The row of the Studies page, when asked for with `rows=1`.")


class ChangeList(Answer):
    """What changed since a cursor."""

    cursor: str = Field(description="Give it as `since` next time.")
    items: list[ChangedItem]
    counts: dict[str, int] = Field(description="Studies in each status.")
    complete: bool = Field(description="False: more changed than is kept; read the list anew.")


class MetricsSummary(Answer):
    """Figures of a window of time."""

    window_s: float
    studies_received: int
    studies_delivered: int
    qc_passed: int
    qc_failed: int
    qc_review: int
    instances_received: int
    bytes_received: int
    studies_per_hour: float
    counts: dict[str, int]


class ErrorBody(Answer):
    """What went wrong."""

    code: str
    message: str
    hint: str
    id: str = Field(description="Also in the log.")


class ErrorAnswer(Answer):
    """An error."""

    error: ErrorBody


def item_values(line: StudyLine, description: str | None) -> dict[str, Any]:
    """Return the values of a study in a list."""
    return {
        "id": line.id,
        "status": line.status.value,
        "revision": line.revision,
        "patient": line.patient,
        "study_datetime": words.iso_datetime(line.study_date, line.study_time),
        "modality": line.modality,
        "description": description,
        "series": Count(received=line.series_received, expected=line.series_expected),
        "instances": Count(received=line.instances_received, expected=line.instances_expected),
        "qc": QcSummary(
            verdict=line.qc_verdict,
            score=line.qc_score,
            done=line.qc_done,
            total=line.qc_total,
        ),
        "source_aet": line.source_aet,
        "flags": line.flags.names(),
        "updated_at": words.utc(line.updated_at),
    }


def history_item(step: HistoryLine) -> HistoryItem:
    """Return a step of a history."""
    return HistoryItem(
        from_status=step.from_status,
        to_status=step.to_status,
        trigger=step.trigger,
        by=step.by,
        at=words.utc(step.at) or "",
        revision=step.revision,
    )


def command_item(command: CommandLine) -> CommandItem:
    """Return a command."""
    return CommandItem(
        id=command.id,
        study=command.study_id,
        verb=command.verb,
        reason=command.reason,
        by=command.by,
        at=words.utc(command.at) or "",
        state=command.state,
        outcome=command.outcome,
        finished_at=words.utc(command.finished_at),
    )
