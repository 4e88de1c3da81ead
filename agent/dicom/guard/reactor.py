"""The thread that serves the connection of one association.

Job: run pynetdicom's state machine on events, check type and length of a PDU before its bytes are read. Place:
started by ``association``; hands fragments to ``messages`` through the state machine. It must never die of what a
peer sent.
"""

# ruff: noqa: SLF001 - this package is where private names of pynetdicom are touched

from __future__ import annotations

import contextlib
import os
import queue
import select
import struct
import threading
from typing import TYPE_CHECKING, cast

from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu_primitives import A_ABORT, A_P_ABORT

from agent.clock import SystemClock
from agent.dicom.guard.limits import MonotonicTimer, PeerViolation, WakingQueue
from agent.dicom.guard.transport import GuardedSocket
from agent.dicom.upper_layer import DATA_TF, abort
from agent.logs import get_logger

if TYPE_CHECKING:
    from agent.dicom.guard.association import GuardedAssociation

PDU_HEADER_BYTES = 6
CONTROL_PDU_BYTES = 1024
UNLIMITED_PDU_BYTES = 16_777_216
PDU_SLACK_BYTES = 64
"""Some senders do not count the headers of a PDU into its length."""
LINGER_S = 0.5
IDLE_POLL_S = 0.5

_clock = SystemClock()
log = get_logger("receiver")


class GuardedDul(DULServiceProvider):
    """The upper layer's reactor: waits on events, checks before it reads."""

    def __init__(self, assoc: GuardedAssociation) -> None:
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._wake_lock = threading.Lock()
        self._is_killed = False
        super().__init__(assoc)
        self.owner = assoc
        self.daemon = True
        self.to_provider_queue = WakingQueue(self.wake)
        self.to_user_queue = WakingQueue(assoc.wake)
        self.artim_timer = MonotonicTimer(assoc.limits.association_timeout_s)
        self._idle_timer: MonotonicTimer = MonotonicTimer(assoc.limits.idle_timeout_s)
        self._linger_until: float | None = None
        self.is_poisoned = False
        self.is_busy = False
        """Whether this thread is in the middle of an object, with deadlines of its own."""

    @property
    def wire(self) -> GuardedSocket:
        """The association's socket."""
        return cast("GuardedSocket", self.socket)

    @property
    def wake_descriptor(self) -> int:
        """The eventfd that says that the queues must be looked at."""
        return self._wake_fd

    @property
    def is_ending(self) -> bool:
        """Whether our side wants to end the association."""
        return self._kill_thread

    @property
    def _kill_thread(self) -> bool:
        return self._is_killed

    @_kill_thread.setter
    def _kill_thread(self, value: bool) -> None:
        self._is_killed = value
        if value:
            self.wake()

    def wake(self) -> None:
        """Make the reactor look at its queues."""
        # under the lock: a number that was closed meanwhile may already be another connection's
        with self._wake_lock:
            if self._wake_fd >= 0:
                os.eventfd_write(self._wake_fd, 1)

    def run_reactor(self) -> None:
        """Thread main: serve the connection until the state machine is idle again."""
        self._idle_timer.start()
        self.owner._dul_ready.set()
        try:
            while not self._kill_thread and not self._is_over():
                self._turn()
        except Exception:
            log.warning("reactor_failed", exc_info=True)
            self._hard_abort()
        finally:
            with self._wake_lock:
                descriptor, self._wake_fd = self._wake_fd, -1
                os.close(descriptor)
            self.owner.wake()

    def _is_over(self) -> bool:
        if not self.owner.is_killed or not self.event_queue.empty():
            return False
        state = self.state_machine.current_state
        if state == "Sta3" and not self.to_provider_queue.queue:
            # decoded when the association had given up waiting: pynetdicom would stay here until the peer goes
            self.owner.note_end("The association request was not answered in time.")
            primitive = A_ABORT()
            primitive.abort_source = 0
            self.to_provider_queue.put(primitive)
        return state == "Sta1"

    def _turn(self) -> None:
        if self.artim_timer.expired:
            self.event_queue.put("Evt18")
        if self.state_machine.current_state == "Sta13":
            # answers that were on their way when the association ended go nowhere
            self.to_provider_queue.queue.clear()
        if self.event_queue.empty() and not self._process_recv_primitive() and self._is_transport_event():
            self._note_turn()
        try:
            event = self.event_queue.get(block=False)
        except queue.Empty:
            self._wait()
            return
        self.state_machine.do_action(event)

    def _note_turn(self) -> None:
        self._idle_timer.restart()
        self.owner.note_traffic()

    def note_traffic(self, now: float) -> None:
        """Remember that the peer sent something just now."""
        self._idle_timer.restart_at(now)
        self.owner.last_traffic = now

    def quiet(self) -> None:
        """Take back the wake that was seen."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake_fd)

    def _wait(self) -> None:
        poller = select.poll()
        poller.register(self._wake_fd, select.POLLIN)
        client = self.wire.socket
        if client is not None and client.fileno() >= 0:
            poller.register(client, select.POLLIN)
        short = self._linger_until is not None
        for descriptor, _ in poller.poll(20 if short else int(IDLE_POLL_S * 1000)):
            if descriptor == self._wake_fd:
                self.quiet()

    def _hard_abort(self) -> None:
        self.wire.send(abort())
        self.wire._shutdown_socket()
        self.owner.note_end("An internal error ended the association.")
        self.owner.is_aborted = True
        primitive = A_P_ABORT()
        primitive.provider_reason = 0
        self.to_user_queue.put(primitive)

    def _is_transport_event(self) -> bool:
        if self.state_machine.current_state != "Sta13":
            return bool(super()._is_transport_event())
        # our last word is sent: give the peer a moment to read it, drop what it still sends, then close
        now = _clock.monotonic()
        if self._linger_until is None:
            self._linger_until = now + LINGER_S
        if self.wire.discard() or now > self._linger_until or not self.is_poisoned:
            self.wire.close()
            return True
        return False

    def _read_pdu_data(self) -> None:
        """Read one PDU: deadline and length first, then the bytes, then pynetdicom's decoder."""
        limits = self.owner.limits
        deadline = _clock.monotonic() + limits.pdu_timeout_s
        try:
            header = bytearray(PDU_HEADER_BYTES)
            self.wire.recv_within(memoryview(header), deadline)
            kind, _, length = struct.unpack(">BBL", header)
            self._check_length(kind, length)
            whole = bytearray(PDU_HEADER_BYTES + length)
            whole[:PDU_HEADER_BYTES] = header
            self.wire.recv_within(memoryview(whole)[PDU_HEADER_BYTES:], deadline)
        except PeerViolation as violation:
            self.reject_pdu(violation.message)
            return
        except TimeoutError:
            self.reject_pdu(f"A PDU was not complete within {limits.pdu_timeout_s:g} s.")
            return
        except OSError:
            self.owner.note_end("The peer closed the connection without release.")
            self.event_queue.put("Evt17")
            return
        try:
            pdu, event = self._decode_pdu(whole)
        except Exception:
            self.reject_pdu("A PDU could not be decoded.")
            return
        self._recv_pdu.put(pdu)
        self.event_queue.put(event)

    def _check_length(self, kind: int, length: int) -> None:
        if kind == DATA_TF:
            allowed = (self.owner.limits.max_pdu_bytes or UNLIMITED_PDU_BYTES) + PDU_SLACK_BYTES
            if self.state_machine.current_state not in ("Sta6", "Sta7"):
                raise PeerViolation("Data came before the association was accepted.")
        elif kind == 1 and self.state_machine.current_state == "Sta2":
            return  # its length was checked before the association existed
        elif kind in (1, 2, 3, 5, 6, 7):
            allowed = CONTROL_PDU_BYTES
        else:
            raise PeerViolation(f"PDU type {kind} does not exist.")
        if length > allowed:
            raise PeerViolation(f"A PDU of {length} bytes is longer than the {allowed} allowed.")

    def reject_pdu(self, reason: str) -> None:
        """Abort the association; `reason` is told to staff."""
        self.is_poisoned = True
        self.owner.note_end(reason)
        self.event_queue.put("Evt19")
