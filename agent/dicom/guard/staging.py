"""The socket of the fast path: one small buffer for headers, everything else read in place.

Job: read without blocking and wait on two descriptors at once, the connection and the reactor's eventfd, so that a
thread in the middle of an object still hears that it must stop; TCP_NODELAY, and TCP_QUICKACK while more of a message
must come. Place: used by ``deframing`` and, through ``recv_within`` and ``send``, by ``reactor``. It must never wait
past the deadline it was given.
"""

from __future__ import annotations

import select
import socket
from typing import TYPE_CHECKING

from pynetdicom import evt

from agent.clock import SystemClock
from agent.dicom.guard.transport import GuardedSocket

if TYPE_CHECKING:
    from agent.dicom.guard.association import GuardedAssociation

STAGE_BYTES = 8192
_now = SystemClock().monotonic


class Interrupted(Exception):
    """Our side wants to end the association while its peer is in the middle of a message."""


class StagedSocket(GuardedSocket):
    """Headers come through a small stage, payload goes where it belongs in the same system call."""

    def __init__(self, assoc: GuardedAssociation, client: socket.socket, prefetched: bytes) -> None:
        super().__init__(assoc, client, prefetched)
        client.settimeout(0)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._client = client
        self._reactor = assoc.reactor
        self._stage = memoryview(bytearray(STAGE_BYTES))
        self._low = self._high = 0
        self._waiter = select.poll()
        self._waiter.register(client, select.POLLIN)
        self._waiter.register(self._reactor.wake_descriptor, select.POLLIN)

    @property
    def ready(self) -> bool:
        """Whether bytes wait, here or in the kernel."""
        return self._high > self._low or super().ready

    @property
    def has_staged(self) -> bool:
        """Whether bytes wait here."""
        return self._high > self._low

    def peek(self, count: int, deadline: float) -> memoryview:
        """Return the next `count` bytes (a header) without taking them; they lie there until the next read."""
        if self._low + count > STAGE_BYTES:
            held = self._high - self._low
            self._stage[:held] = bytes(self._stage[self._low : self._high])
            self._low, self._high = 0, held
        while self._high - self._low < count:
            if self._low == self._high:
                self._low = self._high = 0
            got = self._receive([self._stage[self._high :]], deadline)
            self._high += got
        return self._stage[self._low : self._low + count]

    def skip(self, count: int) -> None:
        """Take bytes that were peeked at."""
        self._low += count

    def read_some(self, target: memoryview, deadline: float) -> int:
        """Read at least one byte and at most all of `target`; what comes behind it is staged."""
        held = self._high - self._low
        if held:
            taken = min(held, len(target))
            target[:taken] = self._stage[self._low : self._low + taken]
            self._low += taken
            return taken
        got = self._receive([target, self._stage], deadline)
        taken = min(got, len(target))
        self._low, self._high = 0, got - taken
        return taken

    def recv_within(self, view: memoryview, deadline: float) -> None:
        """Fill `view`; the way of everything that is not an object.

        Raises
        ------
        TimeoutError
            If the bytes do not come before `deadline`.
        ConnectionError
            If the peer closed the connection.
        """
        taken = min(len(view), len(self._prefetched))
        view[:taken] = self._prefetched[:taken]
        self._prefetched = self._prefetched[taken:]
        while taken < len(view):
            taken += self.read_some(view[taken:], deadline)

    def _receive(self, targets: list[memoryview], deadline: float) -> int:
        client = self._client
        while True:
            try:
                got: int = client.recvmsg_into(targets)[0]
            except BlockingIOError:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
                self._wait(deadline)
                continue
            if not got:
                raise ConnectionError
            return got

    def _wait(self, deadline: float) -> None:
        left = deadline - _now()
        if left <= 0:
            raise TimeoutError
        for descriptor, _ in self._waiter.poll(int(left * 1000) + 1):
            if descriptor == self._reactor.wake_descriptor and self._reactor.is_ending:
                raise Interrupted

    def wait_for_message(self) -> bool:
        """Wait between messages; False when the reactor has something else to do first."""
        return self.has_staged or all(d != self._reactor.wake_descriptor for d, _ in self._waiter.poll())

    def send(self, bytestream: bytes) -> None:
        """Send all of it within the PDU timeout; a peer that does not read is given up."""
        try:
            self._send_all(bytestream)
        except OSError:
            self.event_queue.put("Evt17")
            return
        evt.trigger(self.assoc, evt.EVT_DATA_SENT, {"data": bytestream})

    def _send_all(self, data: bytes) -> None:
        client = self._client
        sent, deadline = 0, 0.0
        while True:
            try:
                sent += client.send(data[sent:] if sent else data)
            except BlockingIOError:
                deadline = deadline or _now() + self._limits.pdu_timeout_s
                left = deadline - _now()
                if left <= 0:
                    raise TimeoutError from None
                writable = select.poll()
                writable.register(client, select.POLLOUT)
                writable.poll(int(left * 1000) + 1)
            if sent == len(data):
                return
