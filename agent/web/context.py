"""What every request needs: settings, keys, clock, the feed of changes, and who is asking.

Place: made by ``app``, used by all pages. It must never hold anything of one user between requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar, cast

from flask import current_app, g, request
from werkzeug.exceptions import HTTPException

from agent.clock import Clock
from agent.config import Settings
from agent.store import audit
from agent.store.keys import Keyring
from agent.store.users import SessionRow
from agent.study import Role
from agent.web.feed import Feed

E = TypeVar("E", bound=HTTPException)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is asking: a person with a login, or a program with a token."""

    name: str
    role: Role
    session: SessionRow | None = None

    @property
    def is_token(self) -> bool:
        """Whether a program asks."""
        return self.session is None


@dataclass(frozen=True, slots=True)
class WebContext:
    """What the web process holds."""

    settings: Settings
    keyring: Keyring
    clock: Clock
    feed: Feed


def web() -> WebContext:
    """Return what the web process holds."""
    return cast("WebContext", current_app.extensions["agent"])


def who() -> Identity | None:
    """Return who is asking, None for somebody unknown."""
    return cast("Identity | None", g.get("identity"))


def role() -> Role:
    """Return the role of whoever is asking; the least one for somebody unknown."""
    identity = who()
    return identity.role if identity else Role.VIEWER


def user_name() -> str:
    """Return the name that rows and the audit carry for whoever is asking."""
    identity = who()
    if identity is None:
        return "nobody"
    return f"token:{identity.name}" if identity.is_token else identity.name


def may_read_descriptions() -> bool:
    """Whether descriptions that hold an identifier are shown (mission 6: hidden from viewers and administrators)."""
    return role() in (Role.TECHNOLOGIST, Role.REVIEWER)


def hinted(error: E, hint: str) -> E:
    """Give an error the sentence that says what to do."""
    error.hint = hint  # type: ignore[attr-defined]
    return error


def is_api() -> bool:
    """Whether a program rather than a person reads the answer."""
    return request.path.startswith("/api/")


def record(
    action: str,
    object_: str = "",
    *,
    outcome: str = "ok",
    detail: Mapping[str, object] | None = None,
    actor: str | None = None,
) -> None:
    """Append to the audit what whoever is asking did.

    Parameters
    ----------
    action : str
        Stable word, for example ``login``.
    object_ : str
        Id of a study, name of an account.
    outcome : str
        ``ok``, ``refused`` …
    detail : mapping, optional
        Facts free of patient data.
    actor : str, optional
        Name to use where nobody is logged in yet.
    """
    identity = who()
    audit.append(
        web().keyring,
        actor=actor if actor is not None else user_name(),
        role=identity.role.value if identity else "",
        source=request.remote_addr or "",
        action=action,
        object=object_,
        outcome=outcome,
        detail=dict(detail or {}),
    )
