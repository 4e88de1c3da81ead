"""The socket of one association, with deadlines.

Job: exact reads before a deadline, writes that give up on a peer that does not read. Place: read by ``reactor``.
"""

from __future__ import annotations

import select
import socket
from typing import TYPE_CHECKING

from pynetdicom import evt
from pynetdicom.transport import AssociationSocket

from agent.clock import SystemClock

if TYPE_CHECKING:
    from agent.dicom.guard.association import GuardedAssociation

LINGER_BYTES = 1 << 20
_clock = SystemClock()


class GuardedSocket(AssociationSocket):
    """A socket with deadlines that serves first what was read before the association existed."""

    def __init__(self, assoc: GuardedAssociation, client: socket.socket, prefetched: bytes) -> None:
        super().__init__(assoc, client_socket=client)
        self._limits = assoc.limits
        self._prefetched = memoryview(prefetched)
        self._discarded = 0
        self._poll = select.poll()
        self._poll.register(client, select.POLLIN)

    @property
    def ready(self) -> bool:
        """Whether bytes wait (poll, because select stops at descriptor 1024)."""
        if self.socket is None or not self._is_connected:
            return False
        return bool(self._prefetched) or bool(self._poll.poll(0))

    def recv_within(self, view: memoryview, deadline: float) -> None:
        """Fill `view`.

        Raises
        ------
        TimeoutError
            If the bytes do not come before `deadline`.
        ConnectionError
            If the peer closed the connection.
        """
        count = len(view)
        taken = min(count, len(self._prefetched))
        view[:taken] = self._prefetched[:taken]
        self._prefetched = self._prefetched[taken:]
        client = self.socket
        while taken < count:
            left = deadline - _clock.monotonic()
            if left <= 0 or client is None:
                raise TimeoutError
            client.settimeout(left)
            got = client.recv_into(view[taken:])
            if not got:
                raise ConnectionError
            taken += got

    def send(self, bytestream: bytes) -> None:
        """Send all of it within the PDU timeout; a peer that does not read is given up."""
        client = self.socket
        try:
            if client is None:
                raise ConnectionError
            client.settimeout(self._limits.pdu_timeout_s)
            client.sendall(bytestream)
        except OSError:
            self.event_queue.put("Evt17")
            return
        evt.trigger(self.assoc, evt.EVT_DATA_SENT, {"data": bytestream})

    def discard(self) -> bool:
        """Drop what has come in; True when the peer closed, or sent too much to be waited for."""
        client = self.socket
        if client is None:
            return True
        client.settimeout(0)
        try:
            dropped = len(client.recv(LINGER_BYTES))
        except BlockingIOError:
            return False
        except OSError:
            return True
        self._discarded += dropped
        return not dropped or self._discarded >= LINGER_BYTES
