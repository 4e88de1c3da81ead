"""Login, logout, choosing a password, and how the pages look.

Place: blueprint ``account``. Every failure says the same and takes the same time, whether the account exists, is
locked, is disabled or the password is wrong. It must never log or show a password.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Blueprint, flash, make_response, redirect, render_template, request, session, url_for
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from werkzeug.wrappers import Response as AnyResponse

from agent.clock import Clock
from agent.store import users
from agent.store.users import UserRow
from agent.web import passwords
from agent.web.access import allow, cookie_name, open_to_all
from agent.web.context import record, web, who

blueprint = Blueprint("account", __name__)
limiter = Limiter(get_remote_address, storage_uri="memory://", strategy="fixed-window")

WRONG = "Name or password is wrong, or there were too many attempts. Wait a minute, then try again."
THEMES = ("auto", "light", "dark")
DENSITIES = ("normal", "compact")


def _account_key() -> str:
    return "account:" + request.form.get("name", "").strip().lower()[:64]


def _is_safe(target: str) -> bool:
    parts = urlsplit(target)
    return target.startswith("/") and not target.startswith(("//", "/\\")) and not parts.netloc and not parts.scheme


def _is_open(user: UserRow, clock: Clock) -> bool:
    now = clock.timestamp()
    locked = user.locked_until is not None and user.locked_until > now
    expired = user.expires_at is not None and user.expires_at <= now
    return not (locked or expired or user.disabled)


@blueprint.get("/login")
@open_to_all
def login() -> str | AnyResponse:
    """Show the login form."""
    if who() is not None:
        return redirect(url_for("home.index"))
    return render_template("account/login.html", next=request.args.get("next", ""))


@blueprint.post("/login")
@limiter.limit("20 per minute", methods=["POST"])
@limiter.limit("5 per minute", key_func=_account_key, methods=["POST"])
@open_to_all
def log_in() -> tuple[str, int] | AnyResponse:
    """Check name and password and start a login with a new identifier."""
    name = request.form.get("name", "").strip()[:64]
    user = users.read_user(name)
    right = passwords.is_right(request.form.get("password", ""), user.password_hash if user else None)
    clock = web().clock
    if user is None or not right or not _is_open(user, clock):
        if user is not None and not right:
            users.note_failure(name, clock.timestamp())
        record("login", name if user else "", outcome="refused", actor=name if user else "unknown")
        return refuse(name)
    users.close_old_sessions(clock.timestamp(), web().settings.web.session_max_s)
    target = request.form.get("next", "")
    response = redirect(target if _is_safe(target) else url_for("home.index"))
    start_session(response, name)
    record("login", name, actor=name)
    return response


def refuse(name: str = "") -> tuple[str, int]:
    """Say that a login failed, the same for every reason."""
    return render_template("account/login.html", next=request.form.get("next", ""), wrong=WRONG, name=name), 401


def start_session(response: AnyResponse, name: str) -> None:
    """Give the browser a new session identifier; the old one is revoked."""
    revoke()
    secret = users.open_session(name, web().clock.timestamp())
    session.clear()
    secure = cookie_name().startswith("__Host-")
    response.set_cookie(cookie_name(), secret, httponly=True, samesite="Lax", secure=secure, path="/")


def revoke() -> None:
    """Revoke the login this browser has."""
    secret = request.cookies.get(cookie_name(), "")
    if secret:
        users.close_session(secret)
    session.clear()


def end_session(response: AnyResponse) -> None:
    """Revoke the login this browser has and drop its cookie."""
    revoke()
    response.delete_cookie(
        cookie_name(), path="/", secure=cookie_name().startswith("__Host-"), httponly=True, samesite="Lax"
    )


@blueprint.post("/logout")
@allow()
def logout() -> AnyResponse:
    """End the login; a copy of the cookie is worthless afterwards."""
    record("logout")
    response = redirect(url_for("account.login"))
    end_session(response)
    return response


@blueprint.get("/account/password")
@allow()
def choose() -> str:
    """Show the form to choose a password."""
    return render_template("account/password.html", least=passwords.LEAST_LENGTH)


@blueprint.post("/account/password", endpoint="choose_password")
@limiter.limit("10 per minute", methods=["POST"])
@allow()
def choose_password() -> tuple[str, int] | AnyResponse:
    """Replace the password of whoever is logged in."""
    identity = who()
    if identity is None or identity.session is None:
        return render_template(
            "account/password.html", least=passwords.LEAST_LENGTH, wrong="A token has no password."
        ), 400
    user, new = identity.session.user, request.form.get("new", "")
    wrong = passwords.weakness(new, user.name)
    if not passwords.is_right(request.form.get("old", ""), user.password_hash):
        wrong = "The present password is wrong."
    elif new != request.form.get("again", ""):
        wrong = "The two new passwords differ."
    elif new == request.form.get("old", ""):
        wrong = "The new password is the old one."
    if wrong:
        return render_template("account/password.html", least=passwords.LEAST_LENGTH, wrong=wrong), 400
    users.set_password(user.name, passwords.hash_password(new))
    record("password_changed", user.name)
    flash("Your password is changed.", "good")
    response = redirect(url_for("home.index"))
    start_session(response, user.name)
    return response


@blueprint.post("/account/look")
@open_to_all
def look() -> AnyResponse:
    """Keep how the pages look: theme and density of tables."""
    back = request.form.get("back", "/")
    response = make_response(redirect(back if _is_safe(back) else "/"))
    for name, values in (("theme", THEMES), ("density", DENSITIES)):
        value = request.form.get(name, "")
        if value in values:
            response.set_cookie(
                name,
                value,
                max_age=31_536_000,
                httponly=True,
                samesite="Lax",
                secure=cookie_name().startswith("__Host-"),
            )
    return response
