"""Studies, commands, changes and figures as JSON.

Place: blueprint ``api`` under ``/api/v1``. The shapes are those of ``models``; each route names its shape for the
OpenAPI document. It must never answer more than the role may see on the pages.
"""

from __future__ import annotations

import re

from flask import Blueprint, Response, request, url_for
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import BadRequest, NotFound, UnprocessableEntity

from agent.store.reader import operations, studies
from agent.store.reader import study as reads
from agent.store.reader.studies import StudyLine
from agent.study import Role, StudyStatus
from agent.web import listing, orders, telling, words
from agent.web.access import allow
from agent.web.api import models
from agent.web.api.openapi import documented
from agent.web.context import record, role, web
from agent.web.feed import Changes
from agent.web.pages.studies import description_of, render_row
from agent.web.pages.study import find

blueprint = Blueprint("api", __name__, url_prefix="/api/v1")

WAIT_S = 25.0
CHANGES_PATH = "/api/v1/changes"
_WINDOW = re.compile(r"(\d{1,6})([smhd])")
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def _json(body: BaseModel, status: int = 200) -> Response:
    return Response(body.model_dump_json(by_alias=True), status, mimetype="application/json")


@blueprint.get("/studies")
@documented("Studies that fit, a page of them", answer=models.StudyList, query=listing.NAMES)
@allow()
def list_studies() -> Response:
    """Return a page of studies."""
    because = listing.problem(request.args)
    if because:
        raise UnprocessableEntity(because)
    page = studies.read_studies(listing.read(request.args))
    items = [models.StudyItem(**models.item_values(line, description_of(line))) for line in page.items]
    return _json(models.StudyList(total=page.total, items=items))


@blueprint.get("/studies/<study_id>")
@documented("One study", answer=models.StudyDetail)
@allow()
def one_study(study_id: str) -> Response:
    """Return one study with its history, evidence, upload, report and the commands allowed now."""
    line = find(study_id)
    met = {"met": True, "not_met": False}
    return _json(
        models.StudyDetail(
            **models.item_values(line, description_of(line)),
            failure=line.failure_text,
            history=[models.history_item(step) for step in reads.read_history(line.id)],
            completeness=[
                models.EvidenceItem(evidence=row.judge, met=met.get(row.answer), detail=row.sentence)
                for row in telling.evidence_of(line)
            ],
            upload=_upload(line),
            report=[_report(line.id, row) for row in reads.read_reports(line.id)],
            commands=[choice.verb for choice in orders.choices(line)],
        )
    )


def _upload(line: StudyLine) -> models.Upload:
    return models.Upload(
        order_id=line.order_id,
        done_objects=line.upload_done_objects,
        total_objects=line.upload_total_objects,
        done_bytes=line.upload_done_bytes,
        total_bytes=line.upload_total_bytes,
        problem=line.upload_problem,
        cloud_progress=100 if line.status is StudyStatus.DELIVERED else line.cloud_progress,
    )


def _report(study_id: str, row: reads.ReportLine) -> models.ReportFile:
    return models.ReportFile(
        name=row.name,
        media_type=row.media_type,
        sha256=row.sha256,
        bytes=row.size_bytes,
        revision=row.revision,
        superseded=row.superseded,
        stored_at=words.utc(row.stored_at) or "",
        url=url_for("api.report_file", study_id=study_id, report_id=row.id),
    )


@blueprint.get("/studies/<study_id>/qc")
@documented("The latest quality report of a study", answer=models.QcReport)
@allow()
def quality(study_id: str) -> Response:
    """Return the quality report as quality control wrote it."""
    found = reads.read_qc(find(study_id).id)
    if found is None:
        raise NotFound("There is no quality report yet.")
    record("qc_report_viewed", study_id)
    return Response(found.body_json, mimetype="application/json")


@blueprint.get("/studies/<study_id>/reports/<int:report_id>")
@documented("A file that the analysis returned", media_type="application/octet-stream")
@allow()
def report_file(study_id: str, report_id: int) -> Response:
    """Send a file of a report."""
    found = reads.read_report_body(study_id, report_id)
    if found is None:
        raise NotFound("There is no such file.")
    record("report_viewed", study_id, detail={"report": report_id})
    response = Response(found[1], mimetype=found[0].media_type)
    response.headers.set("Content-Disposition", "attachment", filename=found[0].name.rsplit("/", 1)[-1])
    response.headers["Content-Security-Policy"] = "default-src 'none'; frame-ancestors 'none'; sandbox"
    return response


@blueprint.post("/studies/<study_id>/commands")
@documented(
    "Give a command; its outcome comes later", answer=models.CommandItem, body=models.CommandRequest, status=202
)
@allow(Role.TECHNOLOGIST, Role.REVIEWER)
def give_command(study_id: str) -> Response:
    """Insert the row of a command."""
    line = find(study_id)
    if not request.is_json:
        raise BadRequest("Send JSON.")
    try:
        wanted = models.CommandRequest.model_validate_json(request.get_data())
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'body'}: {e['msg']}" for e in error.errors())
        raise UnprocessableEntity(problems) from None
    given = orders.give(line, wanted.verb, wanted.reason)
    response = _json(models.command_item(given), 202)
    response.headers["Location"] = url_for("api.one_command", command_id=given.id)
    return response


@blueprint.get("/commands/<int:command_id>")
@documented("A command and what became of it", answer=models.CommandItem)
@allow()
def one_command(command_id: int) -> Response:
    """Return a command."""
    found = reads.read_command(command_id)
    if found is None:
        raise NotFound("There is no such command.")
    return _json(models.command_item(found))


@blueprint.get("/changes")
@documented(
    "What changed since a cursor; waits up to 25 s when nothing did",
    answer=models.ChangeList,
    query=("since", "wait", "rows"),
)
@allow()
def changes() -> Response:
    """Return the studies that changed after a cursor."""
    asked = request.args.get("wait", "")
    wait_s = min(float(asked), WAIT_S) if asked.isdigit() and len(asked) < 6 else WAIT_S
    found = web().feed.since(request.args.get("since", "")[:64], wait_s)
    with_rows = request.args.get("rows") == "1"
    key = ("changes", found, role(), with_rows)
    return Response(web().feed.rendered(key, lambda: write_changes(found, with_rows)), mimetype="application/json")


def write_changes(found: Changes, with_rows: bool) -> str:
    """Write an answer; made once for all who came with the same cursor and role."""
    items = [
        models.ChangedItem(
            **models.item_values(line, description_of(line)), row=render_row(line) if with_rows else None
        )
        for line in studies.read_lines(found.study_ids)
    ]  # fmt: skip
    body = models.ChangeList(cursor=found.cursor, items=items, counts=web().feed.counts(), complete=found.is_complete)
    return body.model_dump_json(by_alias=True)


@blueprint.get("/metrics/summary")
@documented("Figures of a window of time", answer=models.MetricsSummary, query=("window",))
@allow()
def metrics_summary() -> Response:
    """Return the figures of a window: ``24h``, ``7d`` …"""
    match = _WINDOW.fullmatch(request.args.get("window", "24h"))
    if match is None:
        raise UnprocessableEntity("A window is written as 30m, 24h or 7d.")
    window_s = float(int(match[1]) * _UNIT_S[match[2]])
    figures = operations.figures(web().clock.timestamp() - window_s)
    return _json(
        models.MetricsSummary(
            window_s=window_s,
            studies_received=figures.received,
            studies_delivered=figures.delivered,
            qc_passed=figures.passed,
            qc_failed=figures.failed,
            qc_review=figures.review,
            instances_received=figures.received_objects,
            bytes_received=figures.received_bytes,
            studies_per_hour=round(figures.received / max(window_s / 3600, 1e-9), 3),
            counts=web().feed.counts(),
        )
    )
