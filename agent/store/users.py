"""Accounts, logins and API tokens.

Job: the rows of users, sessions and tokens: create, change, look up, count failures, revoke. Place: called by
``web`` and by ``agent user`` and ``agent token``, from any process; each write is one short ``BEGIN IMMEDIATE``
transaction. Secrets come in as random text and are kept as SHA-256 (256 bits of randomness need no slow hash) or,
for passwords, as the argon2 hash the caller made. It must never see, keep or log a password.
"""

from __future__ import annotations

import functools
import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from agent.errors import ConfigError
from agent.store.database import query, transact
from agent.store.schema import Session, Token, User
from agent.study import Role

P = ParamSpec("P")
T = TypeVar("T")

FAILURES_FREE = 5
"""Wrong passwords in a row before an account is locked for a while."""
LOCK_FIRST_S = 60.0
LOCK_MAX_S = 900.0
TOUCH_EVERY_S = 30.0
"""A session's last use is written at most this often."""


@dataclass(frozen=True, slots=True)
class UserRow:
    """An account."""

    name: str
    role: Role
    password_hash: str
    disabled: bool
    one_time: bool
    expires_at: float | None
    failures: int
    locked_until: float | None
    created_at: float


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A login that is still good."""

    id_hash: str
    user: UserRow
    created_at: float
    seen_at: float
    csrf_secret: str


@dataclass(frozen=True, slots=True)
class TokenRow:
    """An API token, without its secret."""

    name: str
    role: Role
    created_at: float
    used_at: float | None
    disabled: bool


def _in_transaction(operation: Callable[P, T]) -> Callable[P, T]:
    """Run a function as one short writing transaction, committed when it returns."""

    @functools.wraps(operation)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return transact(lambda: operation(*args, **kwargs))

    return run


def digest(secret: str) -> str:
    """Return what is kept of a random secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _user(row: User) -> UserRow:
    return UserRow(
        row.name, Role(row.role), row.password_hash, row.disabled, row.one_time,
        row.expires_at, row.failures, row.locked_until, row.created_at,
    )  # fmt: skip


_SESSION_AND_USER = (
    "SELECT s.created_at, s.seen_at, s.csrf_secret, u.name, u.role, u.password_hash, u.disabled, u.one_time, "
    "u.expires_at, u.failures, u.locked_until, u.created_at "
    "FROM session AS s JOIN user AS u ON u.name = s.user_name WHERE s.id_hash = ?"
)
_TOKEN = "SELECT name, role, created_at, used_at, disabled FROM token WHERE token_hash = ?"


def _account(columns: Sequence[Any]) -> UserRow:
    name, role, password_hash, disabled, one_time, expires_at, failures, locked_until, created_at = columns
    return UserRow(
        name, Role(role), password_hash, bool(disabled), bool(one_time), expires_at, failures, locked_until, created_at
    )  # fmt: skip


def read_user(name: str) -> UserRow | None:
    """Return the account called `name`, or None."""
    row = User.get_or_none(User.name == name)
    return None if row is None else _user(row)


def list_users() -> list[UserRow]:
    """Return all accounts by name."""
    return [_user(row) for row in User.select().order_by(User.name)]


@_in_transaction
def create_user(
    name: str, role: Role, password_hash: str, *, at: float, one_time: bool = False, expires_at: float | None = None
) -> UserRow:
    """Create an account.

    Parameters
    ----------
    name : str
        Unique name.
    role : Role
        What it may do.
    password_hash : str
        argon2 hash.
    at : float
        Now, seconds since the epoch.
    one_time : bool
        The password must be replaced at the first login.
    expires_at : float, optional
        The account cannot log in after this.

    Raises
    ------
    ConfigError
        If the name is taken.
    """
    if User.get_or_none(User.name == name) is not None:
        raise ConfigError(f"There is a user {name} already.", code="user_exists", hint="Choose another name.")
    row = User.create(
        name=name,
        role=role.value,
        password_hash=password_hash,
        one_time=one_time,
        expires_at=expires_at,
        created_at=at,
    )
    return _user(row)


@_in_transaction
def _change(name: str, **columns: object) -> UserRow:
    """Change an account and end its logins: a role, a password or a right that changed never lives on in a session."""
    if not User.update(**columns).where(User.name == name).execute():
        raise ConfigError(
            f"There is no user {name}.", code="user_missing", hint="`agent user list` shows the accounts."
        )
    Session.delete().where(Session.user_name == name).execute()
    return _user(User.get_by_id(name))


def set_password(name: str, password_hash: str, *, one_time: bool = False) -> UserRow:
    """Replace a password; ends all logins of the account, lifts its lock and any expiry.

    Raises
    ------
    ConfigError
        If there is no such account.
    """
    return _change(
        name, password_hash=password_hash, one_time=one_time, expires_at=None, failures=0, locked_until=None
    )  # fmt: skip


def set_role(name: str, role: Role) -> UserRow:
    """Give an account another role; ends all its logins.

    Raises
    ------
    ConfigError
        If there is no such account.
    """
    return _change(name, role=role.value)


def set_disabled(name: str, disabled: bool) -> UserRow:
    """Disable or enable an account; ends all its logins.

    Raises
    ------
    ConfigError
        If there is no such account.
    """
    return _change(name, disabled=disabled)


@_in_transaction
def remove_one_time(name: str) -> None:
    """Remove an account whose one-time password was never used."""
    User.delete().where(User.name == name, User.one_time).execute()


@_in_transaction
def note_failure(name: str, at: float) -> None:
    """Count a wrong password; from the fifth in a row on, lock the account for 1, 2, 4 … minutes, 15 at most."""
    row = User.get_or_none(User.name == name)
    if row is None:
        return
    failures = row.failures + 1
    locked_until = row.locked_until
    if failures >= FAILURES_FREE:
        locked_until = at + min(LOCK_MAX_S, LOCK_FIRST_S * 2 ** min(failures - FAILURES_FREE, 10))
    User.update(failures=failures, locked_until=locked_until).where(User.name == name).execute()


@_in_transaction
def open_session(name: str, at: float) -> str:
    """Start a login and return its secret identifier (256 bits); the count of failures starts anew."""
    secret = secrets.token_urlsafe(32)
    User.update(failures=0, locked_until=None).where(User.name == name).execute()
    Session.create(
        id_hash=digest(secret), user_name=name, created_at=at, seen_at=at, csrf_secret=secrets.token_hex(20)
    )  # fmt: skip
    return secret


def read_session(secret: str, at: float, *, idle_s: float, longest_s: float) -> SessionRow | None:
    """Return the login behind `secret` while it, and its account, is good.

    Parameters
    ----------
    secret : str
        What the cookie holds.
    at : float
        Now, seconds since the epoch.
    idle_s, longest_s : float
        Time without a request, and time altogether, after which a login is over.
    """
    # asked with every request and by every open page: one statement, without the query builder
    id_hash = digest(secret)
    rows = query(_SESSION_AND_USER, (id_hash,))
    if not rows:
        return None
    created_at, seen_at, csrf_secret, *account = rows[0]
    if at - seen_at > idle_s or at - created_at > longest_s:
        close_session(secret)
        return None
    user = _account(account)
    if user.disabled or (user.expires_at is not None and user.expires_at <= at):
        return None
    return SessionRow(id_hash, user, created_at, seen_at, csrf_secret)


def touch_session(session: SessionRow, at: float) -> None:
    """Note that a person used a login just now."""
    if at - session.seen_at >= TOUCH_EVERY_S:
        transact(lambda: Session.update(seen_at=at).where(Session.id_hash == session.id_hash).execute())


@_in_transaction
def close_session(secret: str) -> None:
    """End a login."""
    Session.delete().where(Session.id_hash == digest(secret)).execute()


@_in_transaction
def close_old_sessions(at: float, longest_s: float) -> int:
    """Delete the rows of logins that are over; return how many."""
    return int(Session.delete().where(Session.created_at < at - longest_s).execute())


def _token(row: Token) -> TokenRow:
    return TokenRow(row.name, Role(row.role), row.created_at, row.used_at, row.disabled)


def list_tokens() -> list[TokenRow]:
    """Return all API tokens by name."""
    return [_token(row) for row in Token.select().order_by(Token.name)]


@_in_transaction
def create_token(name: str, role: Role, at: float) -> str:
    """Create an API token and return it; it is not kept and cannot be shown again.

    Raises
    ------
    ConfigError
        If the name is taken.
    """
    secret = secrets.token_urlsafe(32)
    if Token.get_or_none(Token.name == name) is not None:
        raise ConfigError(f"There is a token {name} already.", code="token_exists", hint="Choose another name.")
    Token.create(name=name, token_hash=digest(secret), role=role.value, created_at=at)
    return secret


def read_token(secret: str, at: float) -> TokenRow | None:
    """Return the token behind `secret` while it is good, and note its use (once a minute at most)."""
    rows = query(_TOKEN, (digest(secret),))
    if not rows or rows[0][4]:
        return None
    name, role, created_at, used_at, _ = rows[0]
    if used_at is None or at - used_at > 60:
        transact(lambda: Token.update(used_at=at).where(Token.name == name).execute())
    return TokenRow(name, Role(role), created_at, used_at, disabled=False)


@_in_transaction
def disable_token(name: str) -> None:
    """Disable an API token for good.

    Raises
    ------
    ConfigError
        If there is no such token.
    """
    if not Token.update(disabled=True).where(Token.name == name).execute():
        raise ConfigError(f"There is no token {name}.", code="token_missing", hint="`agent token list` shows them.")
