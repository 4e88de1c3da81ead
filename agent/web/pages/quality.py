"""Quality report: may this go on?

Place: blueprint ``quality``. The report as a page with range bars, as self-contained HTML and as PDF, and its
pictures. It shows what quality control wrote and must never judge by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, render_template, request
from werkzeug.exceptions import NotFound

from agent.store.reader import study as reads
from agent.store.reader.studies import StudyLine
from agent.store.reader.study import QcLine
from agent.study import Verb
from agent.web import orders, words
from agent.web.access import allow
from agent.web.context import record, web
from agent.web.pages import study as study_page

blueprint = Blueprint("quality", __name__)

RESULT_ORDER = {"fail": 0, "warn": 1, "undetermined": 2, "pass": 3}
BAR = 100.0
_MARGIN = 0.35


@dataclass(frozen=True, slots=True)
class RangeBar:
    """A measured value against its limits, in hundredths of the bar's width."""

    good_from: float
    good_to: float
    warn_from: float
    warn_to: float
    at: float


def range_bar(measured: object, limits: object) -> RangeBar | None:
    """Lay out a range bar; None when there is nothing to draw.

    Parameters
    ----------
    measured : object
        The measured value; only numbers are drawn.
    limits : object
        ``low``, ``high``, ``fail_low``, ``fail_high``; absent or None is open.
    """
    if not isinstance(measured, int | float) or isinstance(measured, bool) or not isinstance(limits, dict):
        return None
    edges = {k: float(v) for k, v in limits.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    if not edges:
        return None
    points = [float(measured), *edges.values()]
    low, high = min(points), max(points)
    room = (high - low or abs(high) or 1.0) * _MARGIN
    start, end = low - room, high + room

    def place(value: float) -> float:
        return round((value - start) / (end - start) * BAR, 2)

    good_from = place(edges["low"]) if "low" in edges else 0.0
    good_to = place(edges["high"]) if "high" in edges else BAR
    warn_from = place(edges["fail_low"]) if "fail_low" in edges else good_from
    warn_to = place(edges["fail_high"]) if "fail_high" in edges else good_to
    return RangeBar(good_from, good_to, min(warn_from, good_from), max(warn_to, good_to), place(float(measured)))


def _groups(checks: list[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for check in checks:
        shown = {**check, "bar": range_bar(check.get("measured"), check.get("limits"))}
        found.setdefault(str(check.get("group", "")), []).append(shown)
    for rows in found.values():
        rows.sort(key=lambda row: RESULT_ORDER.get(str(row.get("result")), 2))
    return sorted(found.items(), key=lambda item: min(RESULT_ORDER.get(str(r.get("result")), 2) for r in item[1]))


def report_values(line: StudyLine) -> dict[str, object]:
    """Return what the templates of a report need."""
    found = reads.read_qc(line.id)
    body = words.from_json(found.body_json) if found else None
    report: dict[str, Any] = body if isinstance(body, dict) else {}
    checks = [check for check in report.get("checks", []) if isinstance(check, dict)]
    tally = {result: sum(check.get("result") == result for check in checks) for result in RESULT_ORDER}
    override = next((c for c in orders.choices(line) if c.verb == Verb.OVERRIDE.value), None)
    return {"qc": found, "report": report, "groups": _groups(checks), "tally": tally, "override": override}


def _find(study_id: str) -> tuple[StudyLine, QcLine]:
    line = study_page.find(study_id)
    found = reads.read_qc(line.id)
    if found is None:
        raise NotFound("There is no quality report yet.")
    return line, found


@blueprint.get("/studies/<study_id>/quality")
@allow()
def index(study_id: str) -> str:
    """Show the quality report."""
    line = study_page.find(study_id)
    if "X-Agent-Refresh" not in request.headers:
        record("qc_report_viewed", line.id)
    return render_template("quality/report.html", study=line, **report_values(line))


@blueprint.get("/studies/<study_id>/quality/<int:report_id>/pictures/<name>")
@allow()
def picture(study_id: str, report_id: int, name: str) -> Response:
    """Send a picture of a report."""
    body = reads.read_picture(study_id, report_id, name)
    if body is None:
        raise NotFound("There is no such picture.")
    return Response(body, mimetype="image/png")


@blueprint.get("/studies/<study_id>/quality.html")
@allow()
def download_html(study_id: str) -> Response:
    """Send the report as one HTML file that needs nothing else; it may run nothing."""
    from agent.qc import report

    line, found = _find(study_id)
    record("qc_report_exported", line.id, detail={"as": "html"})
    page = report.render_html(_body(found), _pictures(found), _heading(line, found))
    response = Response(page, mimetype="text/html")
    response.headers["Content-Security-Policy"] = (
        "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"
    )
    response.headers.set("Content-Disposition", "attachment", filename=f"quality-{line.id}-r{found.revision}.html")
    return response


@blueprint.get("/studies/<study_id>/quality.pdf")
@allow()
def download_pdf(study_id: str) -> Response:
    """Send the report as PDF."""
    from agent.qc import report

    line, found = _find(study_id)
    record("qc_report_exported", line.id, detail={"as": "pdf"})
    body = report.render_pdf(_body(found), _pictures(found), _heading(line, found))
    response = Response(bytes(body), mimetype="application/pdf")
    response.headers.set("Content-Disposition", "attachment", filename=f"quality-{line.id}-r{found.revision}.pdf")
    return response


def _body(found: QcLine) -> dict[str, Any]:
    body = words.from_json(found.body_json)
    return body if isinstance(body, dict) else {}


def _pictures(found: QcLine) -> Any:
    from agent.qc.report import Picture

    return tuple(Picture(*row) for row in reads.read_pictures(found.id))


def _heading(line: StudyLine, found: QcLine) -> Any:
    from agent.qc.report import ReportHeading

    return ReportHeading(
        lines=(
            ("Patient", line.patient),
            ("Study", line.id),
            ("Study date", words.dicom_date(line.study_date)),
            ("Modality", line.modality.replace("\\", ", ")),
            ("Revision", str(found.revision)),
            ("Judged", words.exact(found.created_at)),
        ),
        footer=f"{web().settings.dicom.ae_title}: patients appear by pseudonym.",
    )
