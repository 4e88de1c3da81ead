"""Audit: who did what?

Place: blueprint ``audit``, administrators only. Search, check of the chain, export. Reading the audit is itself
written to it.
"""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta

from flask import Blueprint, Response, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from agent.store import audit
from agent.store.audit import AuditRow
from agent.study import Role
from agent.web import words
from agent.web.access import allow
from agent.web.context import record, web

blueprint = Blueprint("audit", __name__)

PAGE = 100


@blueprint.get("/audit")
@allow(Role.ADMIN)
def index() -> str:
    """Show the latest rows that fit."""
    filters = {name: request.args.get(name, "").strip()[:64] for name in ("actor", "action", "object")}
    start, end = request.args.get("from", ""), request.args.get("to", "")
    found: deque[AuditRow] = deque(maxlen=PAGE)
    count = 0
    for row in audit.rows(**filters, since=_day(start, 0), until=_day(end, 1) or 2**40):
        found.append(row)
        count += 1
    if "X-Agent-Refresh" not in request.headers:
        record("audit_viewed", detail={"filters": sorted(k for k, v in filters.items() if v)})
    return render_template(
        "audit/audit.html", rows=list(found)[::-1], count=count, filters=filters, start=start, end=end, page=PAGE
    )


def _day(text: str, days: int) -> float:
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=words.zone()) + timedelta(days=days)
    except ValueError:
        return 0.0
    return day.timestamp()


@blueprint.get("/audit.csv")
@allow(Role.ADMIN)
def export() -> Response:
    """Send the whole audit as CSV, digests included, so that the copy can be checked."""
    record("audit_exported")
    response = Response(audit.export("csv"), mimetype="text/csv")
    response.headers["Content-Disposition"] = 'attachment; filename="audit.csv"'
    return response


@blueprint.post("/audit/verify")
@allow(Role.ADMIN)
def verify() -> AnyResponse:
    """Check the chain from its first row to its last."""
    check = audit.verify(web().keyring)
    record("audit_verified", outcome="ok" if check.is_intact else "broken", detail={"rows": check.rows})
    if check.is_intact:
        flash(f"The chain is intact: {words.number(check.rows)} rows checked.", "good")
    else:
        flash(f"The chain is broken at row {check.bad_at}: a row was changed, removed or moved.", "bad")
    return redirect(url_for("audit.index"))
