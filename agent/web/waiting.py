"""Open pages that wait for changes: answered before the framework, because there are many of them.

Job: take the long poll of a browser with a good login, wait with all others for the feed, and hand out the answer
that was written once for everybody of that role. Place: around the Flask app, installed by ``app``. Whatever is not
plainly such a poll goes on to the app and its rules; it must never let anybody through whom the app would refuse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

from flask import Flask, g

from agent.store import users
from agent.study import Role
from agent.web.access import cookie_name_of
from agent.web.api.studies import CHANGES_PATH, WAIT_S, write_changes
from agent.web.context import Identity, WebContext

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class WaitingRoom:
    """The app with the long poll in front.

    Parameters
    ----------
    app : Flask
        The app.
    inner : callable
        Its WSGI entry as it was.
    context : WebContext
        Settings, clock and feed.
    headers : callable
        Security headers of an answer, given whether it goes over TLS.
    """

    def __init__(
        self, app: Flask, inner: Wsgi, context: WebContext, headers: Callable[[bool], list[tuple[str, str]]]
    ) -> None:
        self._app, self._inner, self._context, self._headers = app, inner, context, headers
        self._cookie = cookie_name_of(app)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a poll, or hand the request on."""
        if environ.get("PATH_INFO") == CHANGES_PATH and environ.get("REQUEST_METHOD") == "GET":
            try:
                identity = self._identify(environ)
                body = None if identity is None else self._answer(environ, identity)
            except Exception:  # the app meets it again, answers it as a page or JSON and logs it with its id
                body = None
            if body is not None:
                return self._send(environ, start_response, body)
        return self._inner(environ, start_response)

    def _send(self, environ: dict[str, Any], start_response: Callable[..., Any], body: bytes) -> Iterable[bytes]:
        headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            *self._headers(environ.get("wsgi.url_scheme") == "https"),
        ]
        start_response("200 OK", headers)
        return [body]

    def _identify(self, environ: dict[str, Any]) -> Identity | None:
        """Return the person behind the session cookie; None for all others, and for one-time logins."""
        if "HTTP_AUTHORIZATION" in environ or self._cookie not in environ.get("HTTP_COOKIE", ""):
            return None
        try:
            secret = SimpleCookie(environ["HTTP_COOKIE"])[self._cookie].value
        except (CookieError, KeyError):
            return None
        limits = self._context.settings.web
        row = users.read_session(
            secret, self._context.clock.timestamp(), idle_s=limits.session_idle_s, longest_s=limits.session_max_s
        )
        if row is None or row.user.one_time:
            return None
        return Identity(row.user.name, Role(row.user.role), row)

    def _answer(self, environ: dict[str, Any], identity: Identity) -> bytes:
        asked = parse_qs(environ.get("QUERY_STRING", ""))
        wait = asked.get("wait", [""])[0]
        wait_s = min(float(wait), WAIT_S) if wait.isdigit() and len(wait) < 6 else WAIT_S
        feed = self._context.feed
        found = feed.since(asked.get("since", [""])[0][:64], wait_s)
        with_rows = asked.get("rows", [""])[0] == "1"

        def write() -> str:
            with self._app.request_context(environ):
                g.identity = identity
                return write_changes(found, with_rows)

        return feed.rendered(("changes", found, identity.role, with_rows), write).encode()
