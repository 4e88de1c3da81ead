"""Connections that have not yet asked for an association in full.

Job: read the A-ASSOCIATE-RQ of every new connection in one thread without blocking, within a deadline and a length;
reject with the right reason, or pass the connection on. Place: the main loop of ``receiver``. Silent peers, one byte
a second, length bombs, context floods and programs that speak another protocol end here: they cost one descriptor and
a few bytes, never a thread or a pynetdicom object.
"""

from __future__ import annotations

import json
import selectors
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from agent.clock import SystemClock
from agent.config import DicomSettings
from agent.dicom.admission import refuse_request
from agent.dicom.associations import AssociationRefused, Refusal
from agent.dicom.upper_layer import (
    ASSOCIATE_RQ,
    MAX_REQUEST_BYTES,
    MalformedPdu,
    abort,
    read_association_request,
    read_titles,
    rejection,
)

HEADER_BYTES = 6
TITLES_BYTES = 36
PENDING_BYTES = 16 * 1024 * 1024
LINGER_S = 0.5
_clock = SystemClock()


@dataclass(slots=True)
class _Pending:
    client: socket.socket
    connection_id: str
    address: str
    deadline: float
    refusal: Refusal | None
    buffer: bytearray = field(default_factory=bytearray)
    is_closing: bool = False


@dataclass(frozen=True, slots=True)
class RoomEvents:
    """Where a connection goes from here."""

    admitted: Callable[[socket.socket, bytes, str, str], None]
    """client, request, connection id, address"""
    refused: Callable[[AssociationRefused], None]
    gone: Callable[[str], None]


class PendingRoom:
    """The waiting room; one thread runs it.

    Parameters
    ----------
    settings : DicomSettings
        Whom to let in, and the deadline.
    handover : socket.socket
        Where the listener sends accepted connections.
    events : RoomEvents
        Where connections go.
    """

    def __init__(self, settings: DicomSettings, handover: socket.socket, events: RoomEvents) -> None:
        self._settings, self._handover, self._events = settings, handover, events
        self._selector = selectors.DefaultSelector()
        self._waiting: dict[int, _Pending] = {}
        self._bytes = 0
        handover.setblocking(False)
        self._selector.register(handover, selectors.EVENT_READ)
        self.stopping: Refusal | None = None

    def turn(self, timeout_s: float) -> bool:
        """Serve what is ready; False when the listener has gone."""
        now = _clock.monotonic()
        nearest = min((p.deadline for p in self._waiting.values()), default=now + timeout_s)
        for key, _ in self._selector.select(max(0.0, min(timeout_s, nearest - now))):
            if key.fileobj is self._handover:
                if not self._take_over():
                    return False
            elif (waiting := self._waiting.get(key.fd)) is not None:
                self._read(waiting)
        self._expire()
        return True

    def close(self) -> None:
        """Close every waiting connection."""
        for waiting in list(self._waiting.values()):
            self._close(waiting)
        self._selector.close()

    def _take_over(self) -> bool:
        try:
            message, descriptors, _, _ = socket.recv_fds(self._handover, 65_536, 1)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not message:
            return False
        told = json.loads(message)
        client = socket.socket(fileno=descriptors[0])
        client.setblocking(False)
        refusal = Refusal(*told["refusal"]) if told["refusal"] else self.stopping
        deadline = _clock.monotonic() + self._settings.association_timeout_s
        waiting = _Pending(client, told["id"], told["address"], deadline, refusal)
        self._waiting[client.fileno()] = waiting
        self._selector.register(client, selectors.EVENT_READ)
        self._read(waiting)
        return True

    def _read(self, waiting: _Pending) -> None:
        """Read what is there, until it is decided on or nothing more has come."""
        while True:
            try:
                data = waiting.client.recv(65_536 if waiting.is_closing else self._missing(waiting))
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._hung_up(waiting)
                return
            if waiting.is_closing:
                return
            waiting.buffer += data
            self._bytes += len(data)
            if not self._look(waiting):
                return

    def _hung_up(self, waiting: _Pending) -> None:
        if waiting.buffer and not waiting.is_closing:
            self._report(
                waiting, Refusal("The connection was closed in the middle of the association request.", 0, 0, 0)
            )
        self._close(waiting)

    def _missing(self, waiting: _Pending) -> int:
        have = len(waiting.buffer)
        if have < HEADER_BYTES:
            return HEADER_BYTES - have
        length: int = struct.unpack_from(">I", waiting.buffer, 2)[0]
        return min(HEADER_BYTES + length - have, 65_536)

    def _look(self, waiting: _Pending) -> bool:
        """Decide as soon as there is enough to decide on; True when more must be read."""
        buffer = waiting.buffer
        if buffer[0] != ASSOCIATE_RQ:
            self._refuse(waiting, Refusal(_foreign(buffer), 0, 0, 0), abort())
            return False
        if len(buffer) < HEADER_BYTES:
            return True
        length = struct.unpack_from(">I", buffer, 2)[0]
        if length > MAX_REQUEST_BYTES:
            self._refuse(
                waiting, Refusal(f"An association request of {length} bytes was announced.", 0, 0, 0), abort(2, 6)
            )
        elif self._bytes > PENDING_BYTES:
            self._refuse_politely(waiting, Refusal("Too many association requests are under way.", 2, 3, 1))
        elif len(buffer) < HEADER_BYTES + length:
            return True
        else:
            self._decide(waiting)
        return False

    def _decide(self, waiting: _Pending) -> None:
        try:
            request = read_association_request(memoryview(waiting.buffer)[HEADER_BYTES:])
        except MalformedPdu as error:
            self._refuse(waiting, Refusal(error.message, 0, 0, 0), abort(2, 6))
            return
        refusal = waiting.refusal or self.stopping or refuse_request(self._settings, request, waiting.address)
        if refusal is not None:
            self._refuse_politely(waiting, refusal)
            return
        self._forget(waiting)
        waiting.client.setblocking(True)
        self._events.admitted(waiting.client, bytes(waiting.buffer), waiting.connection_id, waiting.address)

    def _refuse_politely(self, waiting: _Pending, refusal: Refusal) -> None:
        self._refuse(waiting, refusal, rejection(refusal.result, refusal.source, refusal.diagnostic))

    def _refuse(self, waiting: _Pending, refusal: Refusal, answer: bytes) -> None:
        """Answer, report, and linger so that the answer arrives before the connection is reset."""
        self._report(waiting, refusal)
        waiting.is_closing = True
        waiting.deadline = _clock.monotonic() + LINGER_S
        try:
            waiting.client.send(answer)
            waiting.client.shutdown(socket.SHUT_WR)
        except OSError:
            self._close(waiting)

    def _report(self, waiting: _Pending, refusal: Refusal) -> None:
        called, calling = "", ""
        if len(waiting.buffer) >= HEADER_BYTES + TITLES_BYTES and waiting.buffer[0] == ASSOCIATE_RQ:
            called, calling = read_titles(memoryview(waiting.buffer)[HEADER_BYTES:])
        self._events.refused(
            AssociationRefused(
                id=waiting.connection_id,
                calling_aet=calling,
                called_aet=called,
                address=waiting.address,
                at=_clock.timestamp(),
                reason=refusal.sentence,
                result=refusal.result,
                source=refusal.source,
                diagnostic=refusal.diagnostic,
            )
        )

    def _expire(self) -> None:
        now = _clock.monotonic()
        for waiting in [p for p in self._waiting.values() if p.deadline <= now]:
            if not waiting.is_closing:
                seconds = self._settings.association_timeout_s
                said = "did not finish its association request" if waiting.buffer else "said nothing"
                self._report(waiting, Refusal(f"{waiting.address} connected and {said} for {seconds:g} s.", 0, 0, 0))
            self._close(waiting)

    def _forget(self, waiting: _Pending) -> None:
        self._selector.unregister(waiting.client)
        self._waiting.pop(waiting.client.fileno(), None)
        self._bytes -= len(waiting.buffer)

    def _close(self, waiting: _Pending) -> None:
        if waiting.client.fileno() >= 0:
            self._forget(waiting)
            waiting.client.close()
            self._events.gone(waiting.connection_id)


def _foreign(buffer: bytearray) -> str:
    """Say what a program that does not begin with an A-ASSOCIATE-RQ seems to speak."""
    if buffer[0] == 0x16:
        return "TLS was spoken to the plain DICOM port; switch TLS off at the sender."
    if bytes(buffer[:4]) in (b"GET ", b"POST", b"HEAD", b"OPTI"):
        return "HTTP was spoken to the DICOM port."
    return "Something that is not DICOM was sent to the DICOM port."
