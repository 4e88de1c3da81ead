"""Users: who may what?

Place: blueprint ``users``, administrators only. Accounts with their roles, API tokens. A new account gets a
one-time password that is shown once; an administrator never learns the password in use.
"""

from __future__ import annotations

import re
import secrets

from flask import Blueprint, flash, redirect, render_template, request, url_for
from werkzeug.exceptions import UnprocessableEntity
from werkzeug.wrappers import Response as AnyResponse

from agent.errors import ConfigError
from agent.store import users
from agent.study import VERBS_OF_ROLE, Role
from agent.web import passwords
from agent.web.access import allow
from agent.web.context import record, user_name, web

blueprint = Blueprint("users", __name__)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{1,63}")
ROLE_WORDS = {
    Role.VIEWER: "reads, descriptions that identify are hidden",
    Role.TECHNOLOGIST: "reads; force stable, retry, reprocess, hold, cancel",
    Role.REVIEWER: "and override, reject, reveal, export, delete",
    Role.ADMIN: "users, tokens, audit, health; no study commands",
}


@blueprint.get("/users")
@allow(Role.ADMIN)
def index() -> str:
    """Show accounts and tokens."""
    return _render()


def _render(secret: tuple[str, str] | None = None) -> str:
    return render_template(
        "users/users.html",
        users=users.list_users(),
        tokens=users.list_tokens(),
        roles=list(Role),
        role_words=ROLE_WORDS,
        verbs=VERBS_OF_ROLE,
        me=user_name(),
        secret=secret,
    )


def _role() -> Role:
    try:
        return Role(request.form.get("role", ""))
    except ValueError:
        raise UnprocessableEntity("There is no such role.") from None


def _name() -> str:
    name = request.form.get("name", "").strip()
    if not NAME.fullmatch(name):
        raise UnprocessableEntity("A name has 2 to 64 letters, digits, dots, dashes, underscores or @.")
    return name


@blueprint.post("/users")
@allow(Role.ADMIN)
def add() -> str | AnyResponse:
    """Create an account with a one-time password, which this answer shows and no other."""
    try:
        name, role = _name(), _role()
        password = passwords.create_one_time_login(name, role, web().clock.timestamp(), 86_400)
    except (ConfigError, UnprocessableEntity) as error:
        return _refused(error)
    record("user_created", name, detail={"role": role.value})
    return _render((f"One-time password of {name}, good for one day", password))


def _refused(error: ConfigError | UnprocessableEntity) -> AnyResponse:
    flash(error.message if isinstance(error, ConfigError) else str(error.description), "bad")
    return redirect(url_for("users.index"))


@blueprint.post("/users/<name>/role")
@allow(Role.ADMIN)
def change_role(name: str) -> AnyResponse:
    """Give an account another role; it is logged out."""
    try:
        role = _role()
        _keep_an_admin(name, leaves=role is not Role.ADMIN)
        users.set_role(name, role)
    except (ConfigError, UnprocessableEntity) as error:
        return _refused(error)
    record("user_role_changed", name, detail={"role": role.value})
    flash(f"{name} is {role.value} now and has to log in again.", "good")
    return redirect(url_for("users.index"))


@blueprint.post("/users/<name>/disable")
@allow(Role.ADMIN)
def disable(name: str) -> AnyResponse:
    """Disable or enable an account; it is logged out."""
    off = request.form.get("disabled") == "yes"
    try:
        _keep_an_admin(name, leaves=off)
        users.set_disabled(name, off)
    except (ConfigError, UnprocessableEntity) as error:
        return _refused(error)
    record("user_disabled" if off else "user_enabled", name)
    flash(f"{name} is {'disabled' if off else 'enabled'}.", "good")
    return redirect(url_for("users.index"))


@blueprint.post("/users/<name>/password")
@allow(Role.ADMIN)
def reset_password(name: str) -> str | AnyResponse:
    """Replace a password by a one-time password, which this answer shows and no other."""
    password = secrets.token_urlsafe(12)
    try:
        users.set_password(name, passwords.hash_password(password), one_time=True)
    except ConfigError as error:
        return _refused(error)
    record("password_reset", name)
    return _render((f"One-time password of {name}", password))


def _keep_an_admin(name: str, *, leaves: bool) -> None:
    admins = {user.name for user in users.list_users() if user.role is Role.ADMIN and not user.disabled}
    if leaves and admins == {name}:
        raise UnprocessableEntity(f"{name} is the last administrator; make another one first.")


@blueprint.post("/tokens")
@allow(Role.ADMIN)
def add_token() -> str | AnyResponse:
    """Create an API token, which this answer shows and no other."""
    try:
        name, role = _name(), _role()
        secret = users.create_token(name, role, web().clock.timestamp())
    except (ConfigError, UnprocessableEntity) as error:
        return _refused(error)
    record("token_created", name, detail={"role": role.value})
    return _render((f"Token {name}", secret))


@blueprint.post("/tokens/<name>/disable")
@allow(Role.ADMIN)
def disable_token(name: str) -> AnyResponse:
    """Disable an API token for good."""
    try:
        users.disable_token(name)
    except ConfigError as error:
        return _refused(error)
    record("token_disabled", name)
    flash(f"Token {name} is disabled.", "good")
    return redirect(url_for("users.index"))
