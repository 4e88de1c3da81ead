"""pynetdicom's upper layer behind limits.

Job: run one accepted association on pynetdicom's AE, ACSE and state machine, with what they lack: lengths checked before a byte
is read, a deadline for every PDU and message, contexts negotiated by ``contexts``, waiting on events instead of 1 ms sleeps,
and every exception of a reactor thread turned into an abort. Place: used by ``stock_path``; the only module that touches private
names of pynetdicom (3.0.4, pinned). It must never let a peer hold a thread, memory or a descriptor longer than the limits say.
"""

from __future__ import annotations

import os
import queue
import select
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from pynetdicom import evt
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.acse import ACSE
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.dimse_primitives import C_CANCEL, C_ECHO, C_STORE
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu_primitives import A_ASSOCIATE, A_P_ABORT, P_DATA
from pynetdicom.presentation import PresentationContext
from pynetdicom.service_class import StorageServiceClass, VerificationServiceClass
from pynetdicom.transport import AddressInformation, AssociationSocket

from agent.clock import SystemClock
from agent.dicom.contexts import ACCEPTED, NegotiatedContext, ProposedContext, negotiate
from agent.dicom.upper_layer import abort
from agent.errors import DicomError
from agent.logs import get_logger

PDU_HEADER_BYTES = 6
CONTROL_PDU_BYTES = 1024
COMMAND_SET_BYTES = 65_536
UNLIMITED_PDU_BYTES = 16_777_216
PDU_SLACK_BYTES = 64
"""Some senders do not count the headers of a PDU into its length."""
PIPELINED_MESSAGES = 4
LINGER_S = 0.5
IDLE_POLL_S = 0.5
_DATA_TF = 4

_clock = SystemClock()
log = get_logger("receiver")


class PeerViolation(DicomError):
    """A peer broke a limit or the protocol; the association is aborted."""

    default_code = "peer_violation"


class MemoryBudget:
    """Bytes of data sets that may be in memory at once in this process."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._used = 0
        self._lock = threading.Lock()

    def take(self, count: int) -> bool:
        """Take `count` bytes; False when the budget is used up."""
        with self._lock:
            if self._used + count > self._limit:
                return False
            self._used += count
            return True

    def give_back(self, count: int) -> None:
        """Give `count` bytes back."""
        with self._lock:
            self._used -= count


@dataclass(frozen=True, slots=True)
class Limits:
    """What a peer may cost."""

    max_pdu_bytes: int
    max_object_bytes: int
    pdu_timeout_s: float
    idle_timeout_s: float
    dimse_timeout_s: float
    association_timeout_s: float
    memory: MemoryBudget


@dataclass(frozen=True, slots=True)
class Callbacks:
    """What the owner of an association hears of it."""

    opened: Callable[[GuardedAssociation], None]
    ended: Callable[[GuardedAssociation], None]
    handlers: list[tuple[Any, Callable[[Any], Any]]] = field(default_factory=list)


class MonotonicTimer:
    """pynetdicom's timer on a clock that does not jump."""

    def __init__(self, timeout: float | None) -> None:
        self.timeout = timeout
        self._started_at: float | None = None

    def start(self) -> None:
        """Start, or start again."""
        self._started_at = _clock.monotonic()

    restart = start

    def stop(self) -> None:
        """Stop; a stopped timer does not expire."""
        self._started_at = None

    @property
    def expired(self) -> bool:
        """Whether it ran out."""
        return self._started_at is not None and self.timeout is not None and self.remaining < 0

    @property
    def remaining(self) -> float:
        """Seconds that are left."""
        if self.timeout is None:
            return 1.0
        return self.timeout - (0 if self._started_at is None else _clock.monotonic() - self._started_at)


class _WakingQueue(queue.Queue[Any]):
    """A queue whose reader is woken instead of polling."""

    def __init__(self, wake: Callable[[], None]) -> None:
        super().__init__()
        self._wake = wake

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        super().put(item, block, timeout)
        self._wake()


class GuardedSocket(AssociationSocket):
    """A socket with deadlines that serves first what was read before the association existed."""

    def __init__(self, assoc: GuardedAssociation, client: socket.socket, prefetched: bytes) -> None:
        super().__init__(assoc, client_socket=client)
        self._prefetched = memoryview(prefetched)
        self._poll = select.poll()
        self._poll.register(client, select.POLLIN)

    @property
    def ready(self) -> bool:
        """Whether bytes wait (poll, because select stops at descriptor 1024)."""
        if self.socket is None or not self._is_connected:
            return False
        return bool(self._prefetched) or bool(self._poll.poll(0))

    def recv_within(self, count: int, deadline: float) -> bytearray:
        """Return exactly `count` bytes.

        Raises
        ------
        TimeoutError
            If they do not come before `deadline`.
        ConnectionError
            If the peer closed the connection.
        """
        out = bytearray(count)
        taken = min(count, len(self._prefetched))
        out[:taken] = self._prefetched[:taken]
        self._prefetched = self._prefetched[taken:]
        view = memoryview(out)
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
        return out

    def send(self, bytestream: bytes) -> None:
        """Send all of it within the PDU timeout; a peer that does not read is given up."""
        client = self.socket
        try:
            if client is None:
                raise ConnectionError
            client.settimeout(self.assoc.limits.pdu_timeout_s)
            client.sendall(bytestream)
        except OSError:
            self.event_queue.put("Evt17")
            return
        evt.trigger(self.assoc, evt.EVT_DATA_SENT, {"data": bytestream})

    def discard(self) -> bool:
        """Drop what has come in; True when the peer closed or a lot was dropped."""
        client = self.socket
        if client is None:
            return True
        client.settimeout(0)
        try:
            return not client.recv(1 << 20)
        except BlockingIOError:
            return False
        except OSError:
            return True


class GuardedDul(DULServiceProvider):
    """The upper layer's reactor: waits on events, checks before it reads."""

    def __init__(self, assoc: GuardedAssociation) -> None:
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._is_killed = False
        super().__init__(assoc)
        self.daemon = True
        self.to_provider_queue = _WakingQueue(self.wake)
        self.to_user_queue = _WakingQueue(assoc.wake)
        self.artim_timer = MonotonicTimer(assoc.limits.association_timeout_s)
        self._idle_timer = MonotonicTimer(assoc.limits.idle_timeout_s)
        self._linger_until: float | None = None
        self.is_poisoned = False

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
        if self._wake_fd >= 0:
            os.eventfd_write(self._wake_fd, 1)

    def run_reactor(self) -> None:
        """Thread main: serve the connection until the state machine is idle again."""
        self._idle_timer.start()
        self.assoc._dul_ready.set()
        try:
            while not self._kill_thread:
                self._turn()
        except Exception:
            log.warning("reactor_failed", exc_info=True)
            self._hard_abort()
        finally:
            descriptor, self._wake_fd = self._wake_fd, -1
            os.close(descriptor)
            self.assoc.wake()

    def _turn(self) -> None:
        if self.artim_timer.expired:
            self.event_queue.put("Evt18")
        if self.event_queue.empty() and not self._process_recv_primitive() and self._is_transport_event():
            self._idle_timer.restart()
            self.assoc.note_traffic()
        try:
            event = self.event_queue.get(block=False)
        except queue.Empty:
            self._wait()
            return
        self.state_machine.do_action(event)

    def _wait(self) -> None:
        poller = select.poll()
        poller.register(self._wake_fd, select.POLLIN)
        client = self.socket.socket
        if client is not None and client.fileno() >= 0:
            poller.register(client, select.POLLIN)
        short = self._linger_until is not None
        for descriptor, _ in poller.poll(20 if short else int(IDLE_POLL_S * 1000)):
            if descriptor == self._wake_fd:
                os.eventfd_read(self._wake_fd)

    def _hard_abort(self) -> None:
        self.socket.send(abort())
        self.socket._shutdown_socket()
        self.assoc.note_end("An internal error ended the association.")
        self.assoc.is_aborted = True
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
        if self.socket.discard() or now > self._linger_until or not self.is_poisoned:
            self.socket.close()
            return True
        return False

    def _read_pdu_data(self) -> None:
        """Read one PDU: deadline and length first, then the bytes, then pynetdicom's decoder."""
        limits = self.assoc.limits
        deadline = _clock.monotonic() + limits.pdu_timeout_s
        try:
            header = self.socket.recv_within(PDU_HEADER_BYTES, deadline)
            kind, _, length = struct.unpack(">BBL", header)
            self._check_length(kind, length)
            header += self.socket.recv_within(length, deadline)
        except PeerViolation as violation:
            self._reject_pdu(violation.message)
            return
        except TimeoutError:
            self._reject_pdu(f"A PDU was not complete within {limits.pdu_timeout_s:g} s.")
            return
        except OSError:
            self.assoc.note_end("The peer closed the connection without release.")
            self.event_queue.put("Evt17")
            return
        try:
            pdu, event = self._decode_pdu(header)
        except Exception:
            self._reject_pdu("A PDU could not be decoded.")
            return
        self._recv_pdu.put(pdu)
        self.event_queue.put(event)

    def _check_length(self, kind: int, length: int) -> None:
        if kind == _DATA_TF:
            allowed = (self.assoc.limits.max_pdu_bytes or UNLIMITED_PDU_BYTES) + PDU_SLACK_BYTES
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

    def _reject_pdu(self, reason: str) -> None:
        self.is_poisoned = True
        self.assoc.note_end(reason)
        self.event_queue.put("Evt19")


class GuardedDimse(DIMSEServiceProvider):
    """Message assembly with limits on command set, data set, memory and unanswered messages."""

    def __init__(self, assoc: GuardedAssociation) -> None:
        super().__init__(assoc)
        self.msg_queue = _WakingQueue(assoc.wake)
        self._command_bytes = 0
        self._data_bytes = 0
        self._began_at: float | None = None

    @property
    def seconds_in_message(self) -> float:
        """How long a message has been incomplete since its last fragment; 0 between messages."""
        began = self._began_at
        return 0.0 if began is None else _clock.monotonic() - began

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take fragments; a violation aborts the association."""
        try:
            for context_id, fragment in primitive.presentation_data_value_list:
                self._fragment(context_id, fragment)
        except PeerViolation as violation:
            self.dul._reject_pdu(violation.message)
        except Exception:
            self.dul._reject_pdu("A DIMSE message could not be decoded.")

    def _fragment(self, context_id: int, fragment: bytes) -> None:
        if context_id not in self.assoc._accepted_cx:
            raise PeerViolation("Data came under a presentation context that was not accepted.")
        if not fragment:
            raise PeerViolation("A fragment without a message control header came.")
        self._count(fragment)
        self._began_at = _clock.monotonic()
        if self.message is None:
            self.message = DIMSEMessage()
        single = P_DATA()
        single.presentation_data_value_list = [[context_id, fragment]]
        if not self.message.decode_msg(single, self.assoc):
            return
        evt.trigger(self.assoc, evt.EVT_DIMSE_RECV, {"message": self.message})
        message, self.message = self.message, None
        request = message.message_to_primitive()
        held, self._data_bytes, self._command_bytes, self._began_at = self._data_bytes, 0, 0, None
        if isinstance(request, C_CANCEL):
            return
        if not isinstance(request, (C_ECHO, C_STORE)) or not request.is_valid_request:
            raise PeerViolation("Another DIMSE message than a C-ECHO or C-STORE request came.")
        if self.msg_queue.qsize() >= PIPELINED_MESSAGES:
            raise PeerViolation("Requests came without waiting for the responses.")
        self.msg_queue.put((message.context_id, request, held))

    def _count(self, fragment: bytes) -> None:
        limits = self.assoc.limits
        if fragment[0] & 1:
            self._command_bytes += len(fragment)
            if self._command_bytes > COMMAND_SET_BYTES:
                raise PeerViolation("A command set is longer than any that exists.")
            return
        if self._data_bytes + len(fragment) > limits.max_object_bytes:
            raise PeerViolation(f"An object is larger than max_object_bytes ({limits.max_object_bytes}).")
        if not limits.memory.take(len(fragment)):
            raise PeerViolation("There is no memory for another large object just now.")
        self._data_bytes += len(fragment)

    def give_back(self) -> None:
        """Give back the memory of messages that will not be served."""
        self.assoc.limits.memory.give_back(self._data_bytes)
        self._data_bytes = 0
        while not self.msg_queue.empty():
            entry = self.msg_queue.get(block=False)
            self.assoc.limits.memory.give_back(entry[2] if len(entry) == 3 else 0)


class GuardedAcse(ACSE):
    """Negotiation by our own function, without copies of context lists."""

    def _negotiate_as_acceptor(self) -> None:
        assoc = self.assoc
        request = self.requestor.primitive
        self.requestor.ae_title = request.calling_ae_title
        proposed = [
            ProposedContext(c.context_id, str(c.abstract_syntax or ""), tuple(str(s) for s in c.transfer_syntax))
            for c in request.presentation_context_definition_list
        ]
        assoc.negotiated = tuple(negotiate(proposed))
        answers = [_as_context(answer) for answer in assoc.negotiated]
        assoc._accepted_cx = {a.context_id: a for a in answers if a.result == ACCEPTED}
        assoc._rejected_cx = [a for a in answers if a.result != ACCEPTED]
        self.send_accept()
        evt.trigger(assoc, evt.EVT_ACCEPTED, {})
        assoc.is_established = True
        evt.trigger(assoc, evt.EVT_ESTABLISHED, {})


def _as_context(answer: NegotiatedContext) -> PresentationContext:
    context = PresentationContext()
    context.context_id = answer.context_id
    context._abstract_syntax = answer.abstract_syntax
    context._transfer_syntax = [answer.transfer_syntax]
    context.result = answer.result
    context._as_scu, context._as_scp = False, True
    return context


class GuardedAssociation(Association):
    """One association as acceptor.

    Parameters
    ----------
    ae : ApplicationEntity
        Ours.
    client : socket.socket
        The accepted connection.
    prefetched : bytes
        What was read from it already: the A-ASSOCIATE-RQ, checked.
    identity : str
        The random ID of the association.
    limits, callbacks
        What it may cost, and who hears of it.
    """

    def __init__(
        self,
        ae: ApplicationEntity,
        client: socket.socket,
        prefetched: bytes,
        *,
        identity: str,
        limits: Limits,
        callbacks: Callbacks,
    ) -> None:
        self.identity, self.limits, self._callbacks = identity, limits, callbacks
        self.negotiated: tuple[NegotiatedContext, ...] = ()
        self.end_reason = ""
        self.last_traffic = _clock.monotonic()
        self._awake = threading.Event()
        super().__init__(ae, MODE_ACCEPTOR)
        self.acse, self.dul, self.dimse = GuardedAcse(self), GuardedDul(self), GuardedDimse(self)
        self.name = f"association-{identity[:8]}"
        self.dul.name = f"upper-layer-{identity[:8]}"
        self.acse_timeout, self.network_timeout = limits.association_timeout_s, limits.idle_timeout_s
        self.acceptor.maximum_length = limits.max_pdu_bytes
        self.acceptor.ae_title = ae.ae_title
        self.acceptor.address_info = AddressInformation.from_tuple(client.getsockname())
        self.requestor.address_info = AddressInformation.from_tuple(client.getpeername())
        self.acceptor.implementation_class_uid = ae.implementation_class_uid
        self.acceptor.implementation_version_name = ae.implementation_version_name
        for event, handler in callbacks.handlers:
            self.bind(event, handler)
        self.set_socket(GuardedSocket(self, client, prefetched))

    def _bind_defaults(self) -> None:
        for event in evt._INTERVENTION_EVENTS:
            self.bind(event, evt.get_default_handler(event))

    @property
    def calling_aet(self) -> str:
        """The AE title the peer calls with."""
        return str(self.requestor.ae_title)

    @property
    def called_aet(self) -> str:
        """The AE title the peer called."""
        return str(cast("A_ASSOCIATE", self.requestor.primitive).called_ae_title)

    def wake(self) -> None:
        """Make the association's thread look at its queues."""
        self._awake.set()

    def note_traffic(self) -> None:
        """Remember that the peer sent something."""
        self.last_traffic = _clock.monotonic()

    def note_end(self, reason: str) -> None:
        """Remember why it ends; the first reason counts."""
        self.end_reason = self.end_reason or reason

    def run_reactor(self) -> None:
        """Thread main: negotiate, serve, close; reports the end whatever happens."""
        try:
            super().run_reactor()
        except Exception:
            log.warning("association_failed", exc_info=True)
            self.note_end("An internal error ended the association.")
        finally:
            self.dul.kill_dul()
            self.dul.socket._shutdown_socket()
            self.dimse.give_back()
            self._callbacks.ended(self)

    def _run_reactor(self) -> None:
        self._callbacks.opened(self)
        while not self._kill:
            self._awake.clear()
            if self._serve_next():
                continue
            if self._is_over():
                self.kill()
                return
            self._awake.wait(IDLE_POLL_S)

    def _serve_next(self) -> bool:
        try:
            entry = self.dimse.msg_queue.get(block=False)
        except queue.Empty:
            return False
        if len(entry) != 3:
            return True
        context_id, request, held = entry
        service = VerificationServiceClass if isinstance(request, C_ECHO) else StorageServiceClass
        try:
            service(self).SCP(request, self._accepted_cx[context_id])
        finally:
            self.limits.memory.give_back(held)
            self.dul._idle_timer.restart()
            self.note_traffic()
        return True

    def _is_over(self) -> bool:
        if self.is_established and self.acse.is_release_requested():
            self.acse.send_release(is_response=True)
            self.is_released, self.is_established = True, False
            evt.trigger(self, evt.EVT_RELEASED, {})
        elif self.acse.is_aborted():
            self.dul.receive_pdu(wait=False)
            self.note_end("The peer aborted the association.")
            self.is_aborted, self.is_established = True, False
            evt.trigger(self, evt.EVT_ABORTED, {})
        elif self.dul.idle_timer_expired():
            self.note_end(f"No traffic for {self.limits.idle_timeout_s:g} s.")
            self.abort()
        elif self.dimse.seconds_in_message > self.limits.dimse_timeout_s:
            self.note_end(f"A message was not complete: nothing more of it for {self.limits.dimse_timeout_s:g} s.")
            self.abort()
        else:
            return not self.dul.is_alive()
        return True
