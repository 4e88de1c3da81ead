"""Passwords: hashing, checking, what is good enough, one-time logins.

Job: argon2id (3 passes, 64 MiB) with at most two hashes at a time, so that logins cannot exhaust the machine; a
check of an unknown account that takes as long as one of a known account. Place: called by the login page, ``agent
user`` and whoever prints the first login. It must never keep or log a password.
"""

from __future__ import annotations

import functools
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from agent.errors import AgentError
from agent.store import users
from agent.study import Role

LEAST_LENGTH = 12
ONE_TIME_S = 3600.0

_hasher = PasswordHasher(time_cost=3, memory_cost=65_536, parallelism=4)
_seats = threading.BoundedSemaphore(2)


@contextmanager
def _seat() -> Iterator[None]:
    if not _seats.acquire(timeout=10):
        raise AgentError(
            "Too many people log in at this moment.", code="login_busy", hint="Try again in a few seconds."
        )
    try:
        yield
    finally:
        _seats.release()


@functools.cache
def _nobody() -> str:
    """Hash of a password that nobody has, for accounts that do not exist."""
    return _hasher.hash(secrets.token_urlsafe(32))


def hash_password(password: str) -> str:
    """Return the argon2id hash of `password`."""
    with _seat():
        return _hasher.hash(password)


def is_right(password: str, password_hash: str | None) -> bool:
    """Check a password in the same time whether or not the account exists.

    Parameters
    ----------
    password : str
        What was typed.
    password_hash : str or None
        The account's hash; None when there is no such account, which is never right.
    """
    with _seat():
        try:
            matches = _hasher.verify(password_hash or _nobody(), password)
        except (VerificationError, InvalidHashError):
            return False
    return matches and password_hash is not None


def weakness(password: str, name: str) -> str | None:
    """Return in one sentence why `password` is not good enough for the account `name`, or None."""
    if len(password) < LEAST_LENGTH:
        return f"The password needs {LEAST_LENGTH} characters or more; a few words in a row do well."
    if len(password) > 1024:
        return "The password is longer than 1024 characters."
    if len(set(password)) < 5:
        return "The password repeats too few characters."
    if name and name.lower() in password.lower():
        return "The password contains the account's name."
    return None


def create_one_time_login(name: str, role: Role, at: float, lifetime_s: float = ONE_TIME_S) -> str:
    """Create an account whose password must be replaced at the first login, and return that password.

    Parameters
    ----------
    name : str
        Name of the account; one that is left over, unused and one-time, is given a new password.
    role : Role
        What it may do.
    at : float
        Now, seconds since the epoch.
    lifetime_s : float
        The login is good for this long.

    Raises
    ------
    ConfigError
        If an account of that name is in use.
    """
    password = secrets.token_urlsafe(12)
    old = users.read_user(name)
    if old is not None and old.one_time:
        users.remove_one_time(name)
    users.create_user(name, role, hash_password(password), at=at, one_time=True, expires_at=at + lifetime_s)
    return password
