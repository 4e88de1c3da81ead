"""The Flask app: factory, headers, errors.

Job: put settings, keys, pages and API together; one hook sets the security headers of every answer; every error
becomes a page or JSON with an id that the log also has. Place: called by ``server`` and by tests. It must never
show a trace.
"""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path

from flask import Flask, Response, g, jsonify, render_template, request
from werkzeug.exceptions import HTTPException

from agent.clock import Clock, SystemClock
from agent.config import Settings
from agent.errors import AgentError
from agent.logs import get_logger
from agent.store.keys import Keyring
from agent.web import access, api, pages, words
from agent.web.context import WebContext, is_api
from agent.web.feed import Feed
from agent.web.pages.account import limiter
from agent.web.waiting import WaitingRoom

log = get_logger("web")

FORM_BYTES = 1_048_576
CSP = (
    "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; frame-src 'self'; "
    "frame-ancestors {frames}"
)
_STATUS_OF_CODE = {"config": 409, "storage": 503, "illegal_transition": 409, "login_busy": 503}
_OWN_WORDS = (400, 401, 403, 404, 409, 422, 503)
"""Answers of the API whose cause is said where it is found."""
_PLAIN = {
    400: "The request does not fit. If you came from a form, load its page again: it may have been open too long.",
    401: "You are not logged in, or your login is over. Nothing was changed.",
    403: "Your role does not include this. Nothing was changed; an administrator can give you another role.",
    404: "There is no such page or call.",
    405: "This address does not answer that kind of request.",
    413: "That is more than the dashboard takes in one request.",
    429: "Too many requests from here. Wait a minute, then try again.",
}


def create_app(settings: Settings, keyring: Keyring, *, clock: Clock | None = None, feed: Feed | None = None) -> Flask:
    """Make the app.

    Parameters
    ----------
    settings : Settings
        All settings.
    keyring : Keyring
        The keys; the store's database is open already.
    clock : Clock, optional
        Time; the machine's when omitted.
    feed : Feed, optional
        The feed of changes; one that nobody started when omitted.
    """
    app = Flask(__name__, static_url_path="/static")
    clock = clock or SystemClock()
    feed = feed or Feed(clock, waiters=max(2, settings.web.threads // 2))
    context = WebContext(settings, keyring, clock, feed)
    app.extensions["agent"] = context
    app.secret_key = keyring.session_key
    app.config.update(
        MAX_CONTENT_LENGTH=FORM_BYTES,
        SESSION_COOKIE_NAME="agent_form",  # holds the CSRF secret only; logins are rows
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=settings.web.tls_certificate is not None,
        STATIC_MARK=_mark_of(Path(app.static_folder or "")),
    )
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.after_request(_set_headers)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(AgentError, _agent_error)
    app.register_error_handler(Exception, _unexpected_error)
    access.install(app)
    limiter.init_app(app)
    words.install(app)
    for blueprint in (*pages.blueprints(), *api.blueprints()):
        app.register_blueprint(blueprint)
    room = WaitingRoom(app, app.wsgi_app, context, security_headers)
    app.wsgi_app = room  # type: ignore[method-assign]
    return app


def _mark_of(folder: Path) -> str:
    """Return a mark that changes with the static files, so that browsers may keep them."""
    mark = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            mark.update(path.read_bytes())
    return mark.hexdigest()[:12]


def security_headers(is_secure: bool, *, may_be_framed: bool = False) -> list[tuple[str, str]]:
    """Return the headers that every answer carries."""
    headers = [
        ("Content-Security-Policy", CSP.format(frames="'self'" if may_be_framed else "'none'")),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        ("X-Frame-Options", "SAMEORIGIN" if may_be_framed else "DENY"),
        ("Permissions-Policy", "camera=(), microphone=(), geolocation=()"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
    ]
    return [*headers, ("Strict-Transport-Security", "max-age=31536000; includeSubDomains")] if is_secure else headers


def _set_headers(response: Response) -> Response:
    headers = response.headers
    for name, value in security_headers(request.is_secure, may_be_framed=bool(g.get("may_be_framed"))):
        headers.setdefault(name, value)
    if request.endpoint == "static" and response.status_code in (200, 304):
        headers["Cache-Control"] = "public, max-age=31536000, immutable" if "v" in request.args else "no-cache"
    else:
        headers["Cache-Control"] = "no-store"
    return response


def _answer(status: int, message: str, *, hint: str = "", code: str = "") -> tuple[Response | str, int]:
    error_id = secrets.token_hex(4)
    log.info("web_refused", id=error_id, status=status, code=code, endpoint=request.endpoint or "none")
    return _render(status, message, hint, code, error_id)


def _render(status: int, message: str, hint: str, code: str, error_id: str) -> tuple[Response | str, int]:
    if is_api():
        body = {"error": {"code": code or str(status), "message": message, "hint": hint, "id": error_id}}
        return jsonify(body), status
    return render_template("error.html", status=status, message=message, hint=hint, error_id=error_id), status


def _http_error(error: HTTPException) -> tuple[Response | str, int] | HTTPException:
    status = error.code or 500
    if status < 400:
        return error
    own = _OWN_WORDS if is_api() else (404,)
    said = str(error.description or "") if status in own and request.endpoint is not None else ""
    hint = str(getattr(error, "hint", "")) if is_api() or status in (403, 404, 409) else ""
    if request.endpoint is None and status in (404, 405) and is_api():
        hint = "/api/v1/openapi.json lists every call."
    return _answer(status, said or _PLAIN.get(status, error.name), hint=hint, code=error.name.lower().replace(" ", "_"))


def _agent_error(error: AgentError) -> tuple[Response | str, int]:
    status = _STATUS_OF_CODE.get(error.code, _STATUS_OF_CODE.get(type(error).default_code, 500))
    return _answer(status, error.message, hint=error.hint, code=error.code)


def _unexpected_error(error: Exception) -> tuple[Response | str, int]:
    error_id = secrets.token_hex(4)
    log.error("web_failed", id=error_id, endpoint=request.endpoint or "none", exc_info=error)
    message = "Something went wrong in the dashboard. No study is affected: receiving and processing go on."
    return _render(500, message, "Try again; if it stays, tell your administrator this id.", "internal", error_id)
