"""Studies: where is my study?

Place: blueprint ``studies``. The list with filters, order and page in the address, commands for one and many,
CSV. Rows are rendered by one template for the page and for live updates.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import replace

from flask import Blueprint, Response, flash, redirect, render_template, request, url_for
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from agent.store.reader import studies
from agent.store.reader.studies import StudyLine
from agent.study import VERBS_OF_ROLE, Role, Verb
from agent.web import listing, orders, words
from agent.web.access import allow
from agent.web.context import may_read_descriptions, record, role, web

blueprint = Blueprint("studies", __name__)

MANY = 200
AGE = "<!--age-->"  # as the template of a row has it
CSV_ROWS = 100_000
_HEAD = (
    "id", "status", "revision", "patient", "study_date", "study_time", "modality", "description",
    "series_received", "series_expected", "images_received", "images_expected", "qc_verdict", "qc_score",
    "source_aet", "flags", "updated_at",
)  # fmt: skip


def description_of(line: StudyLine) -> str | None:
    """Return a description as far as the reader may see it; None when it is withheld."""
    return None if line.description_identifies and not may_read_descriptions() else line.description


def render_row(line: StudyLine) -> str:
    """Render one row for the reader's role, once for everybody of that role."""
    key = ("row", line.id, line.updated_at, role())
    row = web().feed.rendered(key, lambda: render_template("studies/row.html", **row_values(line)))
    # the age is of now, whenever the rest was written; no text of a study can look like the mark, it is escaped
    return row.replace(AGE, str(words.moment(line.status_at, age=True)))


def row_values(line: StudyLine) -> dict[str, object]:
    """Return what the template of a row needs."""
    return {
        "study": line,
        "choices": orders.choices(line),
        "description": description_of(line),
        "with_commands": role() in (Role.TECHNOLOGIST, Role.REVIEWER),
        "retry_max_s": web().settings.cloud.retry_max_s,
    }


@blueprint.get("/studies")
@allow()
def index() -> str:
    """Show the list."""
    query = listing.read(request.args)
    page = studies.read_studies(query)
    pages = max(1, -(-page.total // query.page_size))
    if query.page > pages:
        query = replace(query, page=pages)
        page = studies.read_studies(query)
    counts = web().feed.counts()
    return render_template(
        "studies/list.html",
        query=query,
        page=page,
        pages=pages,
        rows=[render_row(line) for line in page.items],
        counts=counts,
        all_count=sum(counts.values()),
        address=lambda **changes: url_for("studies.index") + _question(listing.write(query, **changes)),
        search=listing.write(query),
        has_filter=listing.has_filter(query),
        with_commands=role() in (Role.TECHNOLOGIST, Role.REVIEWER),
        verbs=[orders.choice(verb) for verb in Verb if verb in VERBS_OF_ROLE[role()]],
        page_sizes=listing.PAGE_SIZES,
        dicom=web().settings.dicom,
    )


def _question(search: str) -> str:
    return f"?{search}" if search else ""


@blueprint.get("/studies.csv")
@allow(Role.REVIEWER)
def export() -> Response:
    """Send the list, all pages of it, as CSV."""
    query = replace(listing.read(request.args), page_size=200, page=1)
    record("studies_exported", detail={"filters": sorted(k for k in request.args if k != "page")})
    response = Response(_csv(query), mimetype="text/csv")
    response.headers["Content-Disposition"] = 'attachment; filename="studies.csv"'
    return response


def _csv(query: studies.StudyQuery) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(_HEAD)
    for number in range(1, CSV_ROWS // query.page_size + 1):
        rows = studies.read_rows(replace(query, page=number))
        for line in rows:
            writer.writerow([_safe(cell) for cell in _cells(line)])
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
        if len(rows) < query.page_size:
            return


def _cells(line: StudyLine) -> tuple[object, ...]:
    return (
        line.id, line.status.value, line.revision, line.patient, words.dicom_date(line.study_date),
        words.dicom_time(line.study_time), line.modality, line.description, line.series_received, line.series_expected,
        line.instances_received, line.instances_expected, line.qc_verdict, line.qc_score, line.source_aet,
        " ".join(line.flags.names()), words.utc(line.updated_at),
    )  # fmt: skip


def _safe(cell: object) -> object:
    """Keep a spreadsheet from taking text of a sender for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell


@blueprint.post("/studies/commands/confirm")
@allow(Role.TECHNOLOGIST, Role.REVIEWER)
def confirm() -> str | AnyResponse:
    """Say what a command will do to the chosen studies, and to how many it does not apply."""
    verb = orders.verb_named(request.form.get("verb", ""))
    lines = _chosen()
    if not lines:
        flash("Choose one or more studies first.", "bad")
        return redirect(_back())
    able = [line for line in lines if not orders.refusal(line, verb)]
    return render_template(
        "studies/confirm_many.html", choice=orders.choice(verb), able=able, unable=len(lines) - len(able), back=_back()
    )


@blueprint.post("/studies/commands")
@allow(Role.TECHNOLOGIST, Role.REVIEWER)
def command_many() -> AnyResponse:
    """Give a command to the chosen studies."""
    verb = orders.verb_named(request.form.get("verb", ""))
    given, refused = 0, set()
    for line in _chosen():
        try:
            orders.give(line, verb, request.form.get("reason", ""))
            given += 1
        except HTTPException as error:
            refused.add(str(error.description))
    if given:
        flash(f"{words.VERB_WORDS[verb][0]} requested for {given} {'study' if given == 1 else 'studies'}.", "good")
    for sentence in sorted(refused)[:5]:
        flash(sentence, "bad")
    return redirect(_back())


def _chosen() -> list[StudyLine]:
    return studies.read_lines(request.form.getlist("study")[:MANY])


def _back() -> str:
    search = request.form.get("back", "")[:2000]
    return url_for("studies.index") + _question(search if "\n" not in search and "\r" not in search else "")
