"""Who may call what: one decorator, deny by default.

Job: find out who is asking (session cookie or bearer token), check the CSRF token of every unsafe request that a
browser could have been tricked into, and let only those through whom the route names. A route that names nobody
answers 403. Place: ``before_request`` of the app. It must never decide by a template: buttons are hidden for
comfort, this is the lock.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeVar, cast

from flask import Flask, Response, current_app, g, redirect, request, session, url_for
from flask.typing import RouteCallable
from flask_wtf.csrf import CSRFError, CSRFProtect  # type: ignore[import-untyped]
from werkzeug.exceptions import Forbidden, Unauthorized

from agent.store import users
from agent.study import Role
from agent.web.context import Identity, hinted, is_api, record, web, who

V = TypeVar("V", bound=Callable[..., object])

COOKIE = "agent_session"
COOKIE_TLS = "__Host-agent_session"
EVERYBODY = frozenset(Role)
OPEN: frozenset[str] = frozenset({"open"})
_QUIET = frozenset({"api.changes"})
"""Requests that a page makes by itself do not keep a login alive."""

SEND_A_TOKEN = "Send Authorization: Bearer TOKEN; make one with `agent token create NAME --role viewer`."
_BEFORE_CHOICE = frozenset({"account.choose", "account.choose_password", "account.logout"})
"""All that a one-time login may do."""

csrf = CSRFProtect()


def allow(*roles: Role) -> Callable[[V], V]:
    """Let the named roles call a route; without a role, everybody who is logged in."""

    def mark(view: V) -> V:
        view.access_rule = frozenset(roles) or EVERYBODY  # type: ignore[attr-defined]
        return view

    return mark


def open_to_all(view: V) -> V:
    """Let anybody call a route, logged in or not."""
    view.access_rule = OPEN  # type: ignore[attr-defined]
    return view


def rule_of(view: RouteCallable | None) -> frozenset[str] | None:
    """Return whom a route lets through, None for a route without a rule."""
    return cast("frozenset[str] | None", getattr(view, "access_rule", None))


def cookie_name() -> str:
    """Return the name of the session cookie; under TLS one that only this host over TLS can set."""
    return cookie_name_of(current_app)


def cookie_name_of(app: Flask) -> str:
    """Return the name of an app's session cookie."""
    return COOKIE_TLS if app.config["SESSION_COOKIE_SECURE"] else COOKIE


def identify() -> None:
    """Find out who is asking; a bearer token that is wrong is an error, a session that is over is nobody."""
    g.identity = None
    if request.endpoint == "static":
        return
    at = web().clock.timestamp()
    header = request.headers.get("Authorization", "")
    if header:
        scheme, _, secret = header.partition(" ")
        token = users.read_token(secret.strip(), at) if scheme.lower() == "bearer" else None
        if token is None:
            raise hinted(Unauthorized("The token is unknown or disabled."), SEND_A_TOKEN)
        g.identity = Identity(token.name, token.role)
        return
    secret = request.cookies.get(cookie_name(), "")
    if not secret:
        return
    limits = web().settings.web
    row = users.read_session(secret, at, idle_s=limits.session_idle_s, longest_s=limits.session_max_s)
    if row is None:
        return
    g.identity = Identity(row.user.name, row.user.role, row)
    if session.get("csrf_token") != row.csrf_secret:
        session["csrf_token"] = row.csrf_secret
    if request.endpoint not in (*_QUIET, None) and "X-Agent-Refresh" not in request.headers:
        users.touch_session(row, at)


def protect() -> None:
    """Refuse an unsafe request without a CSRF token; a bearer token is no cookie and needs none."""
    identity = who()
    if request.endpoint is not None and not (identity and identity.is_token):
        try:
            csrf.protect()
        except CSRFError as error:
            raise hinted(error, f"{SEND_A_TOKEN} A browser's login sends the header X-CSRFToken.") from None


def guard() -> Response | None:
    """Let through whom the route names and nobody else.

    Raises
    ------
    Unauthorized
        If nobody is logged in (a browser is sent to the login page instead).
    Forbidden
        If whoever is asking is not named; that is written to the audit.
    """
    if request.endpoint is None or request.endpoint == "static":
        return None
    rule = rule_of(current_app.view_functions.get(request.endpoint))
    if rule == OPEN:
        return None
    identity = who()
    if identity is None:
        return _ask_to_log_in()
    if rule is None or identity.role not in rule:
        record("access_refused", request.endpoint, outcome="refused")
        raise hinted(Forbidden("Your role does not include this."), role_hint(rule or frozenset()))
    if identity.session and identity.session.user.one_time and request.endpoint not in _BEFORE_CHOICE:
        if is_api():
            raise hinted(
                Forbidden("Choose a password of your own first."),
                f"Open {url_for('account.choose')} in a browser; the password you were given works once.",
            )
        return cast("Response", redirect(url_for("account.choose")))
    return None


def role_hint(roles: Collection[str]) -> str:
    """Say which role would be let through."""
    named = [role.value for role in Role if role in roles]
    return f"It needs the role {' or '.join(named)}." if named else ""


def _ask_to_log_in() -> Response:
    if is_api() or request.method != "GET" or "X-Agent-Refresh" in request.headers:
        raise hinted(Unauthorized("Log in first."), SEND_A_TOKEN if is_api() else "")
    target = request.full_path.rstrip("?")
    where = url_for("account.login") if target == "/" else url_for("account.login", next=target)
    return cast("Response", redirect(where))


def install(app: Flask) -> None:
    """Put the three checks before every request, in their order."""
    app.config["WTF_CSRF_CHECK_DEFAULT"] = False
    app.config["WTF_CSRF_TIME_LIMIT"] = None  # as long as the login it belongs to
    app.config["WTF_CSRF_SSL_STRICT"] = False  # no referrer is ever sent; the token and SameSite do the work
    csrf.init_app(app)
    app.before_request(identify)
    app.before_request(protect)
    app.before_request(guard)
