"""The listening socket.

Job: accept connections in the engine's process, apply the limits on addresses and numbers before any thread exists,
and hand each socket to the receiver with the fewest connections. Place: one thread, started by ``receiver_pool``. It
keeps no copy of a socket it handed over, so that a peer hears of a dead receiver at once. It must never read from a
connection.
"""

from __future__ import annotations

import errno
import secrets
import socket
import threading
from collections import Counter
from collections.abc import Callable

from agent.clock import SystemClock
from agent.config import DicomSettings
from agent.dicom.admission import plain_address, refuse_address
from agent.dicom.associations import AssociationRefused, Refusal
from agent.errors import ConfigError
from agent.logs import get_logger

BACKLOG = 256
OVERFLOW = 64
"""Connections beyond the limit that are still told why; more are closed without a word."""
SHORT_OF_DESCRIPTORS_S = 0.2

_clock = SystemClock()
log = get_logger("listener")


def open_listening_socket(host: str, port: int) -> socket.socket:
    """Listen on `host`; ``::`` takes IPv6 and IPv4.

    Raises
    ------
    ConfigError
        Naming what is wrong with address or port and what to do.
    """
    try:
        family, _, _, _, where = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ConfigError(
            f"dicom.host = {host!r} is no address of this machine.",
            code="bind_address",
            hint="Use 0.0.0.0, :: or an address.",
        ) from error
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listening.bind(where)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise _bind_error(host, port, error) from error
    return listening


def _bind_error(host: str, port: int, error: OSError) -> ConfigError:
    if error.errno == errno.EADDRINUSE:
        return ConfigError(
            f"Port {port} on {host} is in use by another program.",
            code="port_in_use",
            hint="Stop that program (ss -ltnp names it) or set dicom.port to another port.",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return ConfigError(
            f"Port {port} needs a privilege this user does not have.",
            code="port_forbidden",
            hint="Use a port above 1023, or give the Python interpreter CAP_NET_BIND_SERVICE.",
        )
    return ConfigError(
        f"Cannot listen on {host} port {port}: {error.strerror}.",
        code="bind_failed",
        hint="Check dicom.host and dicom.port.",
    )


class Listener:
    """The accept loop.

    Parameters
    ----------
    settings : DicomSettings
        Limits.
    listening : socket.socket
        From :func:`open_listening_socket`.
    hand_over : callable
        ``(client, connection_id, address, refusal)`` → whether a receiver took it.
    is_accepting : callable
        Back-pressure: the refusal for new associations, or None.
    refused : callable
        Told of connections that are closed here.
    """

    def __init__(
        self,
        settings: DicomSettings,
        listening: socket.socket,
        hand_over: Callable[[socket.socket, str, str, Refusal | None], bool],
        is_accepting: Callable[[], Refusal | None],
        refused: Callable[[AssociationRefused], None],
    ) -> None:
        self._settings, self._listening = settings, listening
        self._hand_over, self._is_accepting, self._refused = hand_over, is_accepting, refused
        self._open: dict[str, str] = {}
        self._of_address: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._accept, name="listener", daemon=True)

    def start(self) -> None:
        """Begin to accept."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Accept no more."""
        self._stopping.set()
        try:
            self._listening.shutdown(socket.SHUT_RDWR)
        except OSError:
            log.debug("listener_was_closed")
        self._thread.join(timeout_s)
        self._listening.close()

    def gone(self, connection_id: str) -> None:
        """Take back the count of a connection that has ended."""
        with self._lock:
            address = self._open.pop(connection_id, None)
            if address is not None:
                self._of_address[address] -= 1
                if not self._of_address[address]:
                    del self._of_address[address]

    def _accept(self) -> None:
        """Thread main."""
        while not self._stopping.is_set():
            try:
                client, peer = self._listening.accept()
            except OSError as error:
                if self._stopping.is_set() or error.errno in (errno.EBADF, errno.EINVAL):
                    return
                # the process is short of descriptors, or the peer left the queue again
                _clock.wait(self._stopping, SHORT_OF_DESCRIPTORS_S)
                continue
            try:
                self._place(client, plain_address(peer[0]))
            except Exception:
                log.exception("connection_not_placed")
            finally:
                client.close()

    def _place(self, client: socket.socket, address: str) -> None:
        unknown = refuse_address(self._settings, address)
        if unknown is not None:
            self._report(address, unknown)
            return
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        with self._lock:
            total, mine = len(self._open), self._of_address[address]
            identity = secrets.token_hex(16)
            refusal = self._over_limit(total, mine, address)
            if total >= self._settings.max_associations + OVERFLOW:
                return
            if mine >= self._settings.max_associations_per_address + OVERFLOW:
                return
            self._open[identity] = address
            self._of_address[address] += 1
        if not self._hand_over(client, identity, address, refusal or self._is_accepting()):
            self.gone(identity)

    def _over_limit(self, total: int, mine: int, address: str) -> Refusal | None:
        if mine >= self._settings.max_associations_per_address:
            return Refusal(f"{address} has {mine} connections open; dicom.max_associations_per_address allows no more.")
        if total >= self._settings.max_associations:
            return Refusal(f"{total} connections are open; dicom.max_associations allows no more.")
        return None

    def _report(self, address: str, refusal: Refusal) -> None:
        self._refused(
            AssociationRefused(
                id=secrets.token_hex(16),
                calling_aet="",
                called_aet="",
                address=address,
                at=_clock.timestamp(),
                reason=refusal.sentence,
                result=refusal.result,
                source=refusal.source,
                diagnostic=refusal.diagnostic,
            )
        )
