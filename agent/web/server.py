"""The web process: a server with TLS and threads, which ends with the engine.

Job: open keys and database, serve the app, write the address that was taken to ``run/web.json``. Place: main of
the process that the engine starts; also runs alone when there is no pipe. It must never outlive its engine and
never listen to the network without TLS.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import signal
import socket
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from cheroot.ssl.builtin import BuiltinSSLAdapter
from cheroot.wsgi import Server

from agent.clock import SystemClock
from agent.config import Settings, WebSettings
from agent.errors import ConfigError
from agent.logs import configure_logs, get_logger
from agent.store.database import open_database
from agent.store.keys import Keyring
from agent.web.app import create_app
from agent.web.feed import Feed

log = get_logger("web")

WAITERS = 120
"""Threads beside `web.threads` that do nothing but wait for changes: one an open dashboard."""


def check_address(settings: WebSettings) -> None:
    """Refuse an address that others can reach without TLS.

    Raises
    ------
    ConfigError
        Naming the settings that would make it safe.
    """
    if (settings.tls_certificate is None) != (settings.tls_key is None):
        raise ConfigError(
            "Only one of web.tls_certificate and web.tls_key is set.", code="web_tls", hint="Set both, or none."
        )
    for path in (settings.tls_certificate, settings.tls_key):
        if path is not None and not os.access(path, os.R_OK):
            raise ConfigError(f"{path} cannot be read.", code="web_tls", hint="Check path and mode.")
    if settings.tls_certificate is None and not _is_loopback(settings.host):
        raise ConfigError(
            f"web.host = {settings.host} can be reached by others and there is no TLS.",
            code="web_tls",
            hint="Set web.tls_certificate and web.tls_key, or web.host = 127.0.0.1.",
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def make_server(settings: Settings, app: Any) -> Server:
    """Bind the server.

    Raises
    ------
    ConfigError
        If the address is not safe, or the port is taken.
    """
    check_address(settings.web)
    threads = settings.web.threads + WAITERS
    server = Server(
        (settings.web.host, settings.web.port), app, numthreads=threads, max=threads,
        request_queue_size=128, timeout=30, shutdown_timeout=1, server_name="agent",
    )  # fmt: skip
    server.keep_alive_conn_limit = 500
    server.max_request_header_size = 32_768
    setattr(server, "error_log", _log_error)  # noqa: B010 - a method that is there to be replaced
    if settings.web.tls_certificate is not None:
        server.ssl_adapter = BuiltinSSLAdapter(str(settings.web.tls_certificate), str(settings.web.tls_key))
    try_address(settings.web)
    try:
        server.prepare()
    except OSError as error:
        raise _unusable(settings.web, error) from error
    return server


def try_address(web: WebSettings) -> None:
    """Bind and let go: the server's own attempt leaves a socket behind when it fails.

    Raises
    ------
    ConfigError
        If the port is taken, or the address is not of this machine.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(web.host, web.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)  # with SO_REUSEADDR a bind alone may share the port with a socket that does not listen yet
    except OSError as error:
        raise _unusable(web, error) from error


def _unusable(web: WebSettings, error: OSError) -> ConfigError:
    reason = error.strerror or "unknown"
    return ConfigError(
        f"The dashboard cannot listen on {web.host}:{web.port}: {reason}.",
        code="web_port",
        hint="Stop what uses it, or set web.port.",
    )


def _log_error(msg: str = "", level: int = 20, traceback: bool = False) -> None:
    # the server's own messages may quote a request; only that something happened is kept
    del msg
    if traceback or level >= 40:
        log.warning("web_connection_failed")


def write_address(settings: Settings, server: Server) -> str:
    """Write the address that was taken to ``run/web.json`` and return it."""
    host, port = server.bind_addr[:2]
    scheme = "https" if settings.web.tls_certificate is not None else "http"
    shown = f"[{host}]" if ":" in str(host) else host
    url = f"{scheme}://{shown}:{port}/"
    path = Path(settings.data_dir, "run", "web.json")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps({"url": url, "host": host, "port": port, "pid": os.getpid()}), encoding="utf-8")
    fresh.replace(path)
    return url


def run_web(settings: Settings, pipe: Connection | None = None) -> None:
    """Serve until the engine's end of `pipe` closes (or, without one, until interrupted).

    Parameters
    ----------
    settings : Settings
        All settings.
    pipe : Connection, optional
        The engine's pipe; it is only waited on.

    Raises
    ------
    ConfigError
        If the address is not safe or taken, or keys or database cannot be opened.
    """
    configure_logs(settings.log.level, settings.log.format)
    check_address(settings.web)
    keyring = Keyring.open(settings)
    open_database(settings.data_dir, keyring)
    clock = SystemClock()
    feed = Feed(clock, waiters=WAITERS)
    server = make_server(settings, create_app(settings, keyring, clock=clock, feed=feed))
    if pipe is not None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(
            target=_end_with_engine, args=(pipe, server, feed), name="web-engine-watch", daemon=True
        ).start()
    feed.start()
    write_address(settings, server)
    log.info("web_ready", port=server.bind_addr[1], tls=settings.web.tls_certificate is not None)
    try:
        server.serve()
    except KeyboardInterrupt:
        pass
    finally:
        feed.stop()
        server.stop()


def _end_with_engine(pipe: Connection, server: Server, feed: Feed) -> None:
    with contextlib.suppress(EOFError, OSError):
        while True:
            pipe.recv_bytes()
    feed.stop(timeout_s=0)
    # requests that still run are read-only: a second is all they get
    deadline = threading.Timer(1.0, os._exit, args=(0,))
    deadline.daemon = True
    deadline.start()
    server.stop()
