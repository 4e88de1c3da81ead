"""Study: what happened, why is it where it is?

Place: blueprint ``study``. One page with tabs, commands with confirmation and reason, the identifiers on request
of a reviewer (audited), the files of the report. It must never show an identifier that was not asked for.
"""

from __future__ import annotations

import json

from flask import Blueprint, Response, flash, g, redirect, render_template, request, url_for
from werkzeug.exceptions import HTTPException, NotFound, UnprocessableEntity
from werkzeug.wrappers import Response as AnyResponse

from agent.store import audit
from agent.store.reader import studies
from agent.store.reader import study as reads
from agent.store.reader.studies import StudyLine
from agent.study import Role, Verb
from agent.web import orders, telling
from agent.web.access import allow
from agent.web.context import hinted, record, role, web
from agent.web.orders import Choice

blueprint = Blueprint("study", __name__)

_TABS = (
    ("reception", "Reception"), ("quality", "Quality"), ("deid", "De-identification"), ("upload", "Upload and order"),
    ("report", "Report"), ("audit", "Audit"),
)  # fmt: skip
_FIRST = (Verb.RELEASE, Verb.RETRY, Verb.FORCE_STABLE)
AUDIT_ROWS = 500
IDENTIFIERS = (
    ("patient_id", "Patient ID"), ("issuer", "Issuer of Patient ID"), ("patient_name", "Patient's Name"),
    ("birth_date", "Patient's Birth Date"), ("accession_number", "Accession Number"), ("study_id", "Study ID"),
)  # fmt: skip


def find(study_id: str) -> StudyLine:
    """Return the study of an address.

    Raises
    ------
    NotFound
        If there is none.
    """
    line = studies.read_line(study_id)
    if line is None:
        raise hinted(
            NotFound("There is no study with this id."),
            "Find it in the list of studies; a study of which no image came has none.",
        )
    return line


def best_choice(given: list[Choice]) -> Choice | None:
    """Return the one command that a page offers first."""
    by_verb = {choice.verb: choice for choice in given}
    return next((by_verb[verb.value] for verb in _FIRST if verb.value in by_verb), None)


@blueprint.get("/studies/<study_id>")
@allow()
def index(study_id: str) -> str:
    """Show a study, one tab of it."""
    line = find(study_id)
    if "X-Agent-Refresh" not in request.headers:
        record("study_viewed", line.id, detail={"tab": request.args.get("tab", "reception")})
    return render_study(line)


def render_study(line: StudyLine, *, revealed: list[tuple[str, str]] | None = None) -> str:
    """Render the page of a study."""
    tabs = [tab for tab in _TABS if tab[0] != "audit" or role() is Role.ADMIN]
    tab = request.args.get("tab", "reception")
    if tab not in dict(tabs):
        tab = "reception"
    given = orders.choices(line)
    return render_template(
        "study/study.html",
        study=line,
        tabs=tabs,
        tab=tab,
        first=best_choice(given),
        choices=given,
        description=None if _is_withheld(line) else line.description,
        revealed=revealed,
        may_reveal=role() is Role.REVIEWER and not line.deleted,
        commands=reads.read_commands(line.id, 5),
        history=reads.read_history(line.id),
        headline=telling.headline(line, reads.read_qc_reasons([line.id]).get(line.id, ()) if line.needs_review else ()),
        step_words=telling.step_words,
        retry_max_s=web().settings.cloud.retry_max_s,
        **_tab_values(line, tab),
    )


def _is_withheld(line: StudyLine) -> bool:
    return line.description_identifies and role() not in (Role.TECHNOLOGIST, Role.REVIEWER)


def _tab_values(line: StudyLine, tab: str) -> dict[str, object]:
    """Read only what the shown tab needs."""
    if tab == "quality":
        from agent.web.pages.quality import report_values

        return report_values(line)
    if tab == "deid":
        return {
            "actions": reads.read_deid(line.id, line.revision),
            "excluded": reads.read_excluded(line.id, line.revision),
        }
    if tab == "upload":
        return {
            "jobs": reads.read_jobs(line.id),
            "cloud": web().settings.cloud.adapter,
            "analysis": telling.analysis_words(line),
        }
    if tab == "report":
        return {"reports": reads.read_reports(line.id)}
    if tab == "audit":
        return {"entries": list(audit.rows(object=line.id))[-AUDIT_ROWS:][::-1]}
    return {
        "series": reads.read_series(line.id),
        "evidence": telling.evidence_of(line),
        "next": telling.headline(line).then,
    }


@blueprint.get("/studies/<study_id>/commands/<verb>")
@allow(Role.TECHNOLOGIST, Role.REVIEWER)
def confirm(study_id: str, verb: str) -> str | AnyResponse:
    """Say what a command will do and ask for the reason."""
    line, wanted = find(study_id), orders.verb_named(verb)
    because = orders.refusal(line, wanted)
    if because:
        flash(because, "bad")
        return redirect(url_for("study.index", study_id=line.id))
    return render_template("study/confirm.html", study=line, choice=orders.choice(wanted))


@blueprint.post("/studies/<study_id>/commands")
@allow(Role.TECHNOLOGIST, Role.REVIEWER)
def command(study_id: str) -> AnyResponse:
    """Give a command; the page then shows what becomes of it."""
    line, verb = find(study_id), orders.verb_named(request.form.get("verb", ""))
    if verb in orders.CONFIRMED and "confirmed" not in request.form:
        return redirect(url_for("study.confirm", study_id=line.id, verb=verb.value))
    try:
        given = orders.give(line, verb, request.form.get("reason", ""))
    except HTTPException as error:
        flash(str(error.description), "bad")
        if isinstance(error, UnprocessableEntity):
            return redirect(url_for("study.confirm", study_id=line.id, verb=verb.value))
        return redirect(url_for("study.index", study_id=line.id))
    return redirect(url_for("study.index", study_id=line.id, command=given.id))


@blueprint.post("/studies/<study_id>/reveal")
@allow(Role.REVIEWER)
def reveal(study_id: str) -> str | AnyResponse:
    """Show the identifiers once; who asked and why is written to the audit before anything is shown."""
    line = find(study_id)
    reason = " ".join(request.form.get("reason", "").split())[: orders.REASON_LONGEST]
    sealed = reads.sealed_identifiers(line.id)
    if not reason or sealed is None or line.deleted:
        flash("Give a reason first." if not reason else "There are no identifiers for this study.", "bad")
        return redirect(url_for("study.index", study_id=line.id))
    record("identifiers_revealed", line.id, detail={"reason": reason})
    body = json.loads(web().keyring.unseal(sealed, identifiers_context(line.id)))
    shown = [(label, str(body[key])) for key, label in IDENTIFIERS if body.get(key)]
    return render_study(line, revealed=[*shown, ("Study Instance UID", reads.study_uid(line.id))])


def identifiers_context(study_id: str) -> str:
    """Return the context under which a study's identifiers are sealed."""
    return f"identifiers:{study_id}"


@blueprint.get("/studies/<study_id>/reports/<int:report_id>/<path:name>")
@allow()
def report_file(study_id: str, report_id: int, name: str) -> Response:
    """Send a file that the analysis returned; PDF may be shown inside the study's page."""
    found = reads.read_report_body(study_id, report_id)
    if found is None or found[0].name != name:
        raise NotFound("There is no such file.")
    line, body = found
    record("report_viewed", study_id, detail={"report": line.id})
    is_pdf = line.media_type == "application/pdf"
    is_shown = is_pdf or line.media_type in ("application/json", "text/plain", "image/png")
    response = Response(body, mimetype=line.media_type if is_shown else "application/octet-stream")
    disposition = "inline" if is_shown and "download" not in request.args else "attachment"
    response.headers.set("Content-Disposition", disposition, filename=line.name.rsplit("/", 1)[-1])
    g.may_be_framed = is_pdf
    if not is_pdf:
        response.headers["Content-Security-Policy"] = "default-src 'none'; frame-ancestors 'none'; sandbox"
    return response
