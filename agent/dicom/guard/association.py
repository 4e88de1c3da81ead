"""One association as acceptor.

Job: tie socket, reactor and messages together, negotiate, serve requests one after the other, and end. Place: created
by ``stock_path``; its thread runs the C-STORE handler. It must report its end exactly once, whatever happens.
"""

# ruff: noqa: SLF001 - this package is where private names of pynetdicom are touched

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.acse import ACSE
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_ECHO
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import PresentationContext
from pynetdicom.service_class import StorageServiceClass, VerificationServiceClass
from pynetdicom.transport import AddressInformation

from agent.clock import SystemClock
from agent.dicom.contexts import ACCEPTED, NegotiatedContext, ProposedContext, negotiate
from agent.dicom.guard.deframing import Store
from agent.dicom.guard.fast_reactor import FastDul
from agent.dicom.guard.limits import Limits
from agent.dicom.guard.messages import GuardedDimse
from agent.dicom.guard.reactor import IDLE_POLL_S, GuardedDul
from agent.dicom.guard.staging import StagedSocket
from agent.dicom.guard.transport import GuardedSocket
from agent.dicom.upper_layer import abort
from agent.logs import get_logger

_clock = SystemClock()
log = get_logger("receiver")


@dataclass(frozen=True, slots=True)
class Callbacks:
    """What the owner of an association hears of it."""

    opened: Callable[[GuardedAssociation], None]
    ended: Callable[[GuardedAssociation], None]
    handlers: list[tuple[Any, Callable[[Any], Any]]] = field(default_factory=list)
    store: Store | None = None
    """Stores an object while it comes, in the reactor's thread; None: pynetdicom assembles it for its handler."""


class GuardedAcse(ACSE):
    """Negotiation by our own function, without copies of context lists."""

    def __init__(self, assoc: GuardedAssociation) -> None:
        super().__init__(assoc)
        self.owner = assoc

    def _negotiate_as_acceptor(self) -> None:
        owner = self.owner
        request = cast("A_ASSOCIATE", self.requestor.primitive)
        self.requestor.ae_title = request.calling_ae_title
        proposed = [
            ProposedContext(
                cast("int", c.context_id), str(c.abstract_syntax or ""), tuple(str(s) for s in c.transfer_syntax)
            )
            for c in request.presentation_context_definition_list
        ]
        owner.negotiated = tuple(negotiate(proposed))
        answers = {answer.context_id: _as_context(answer) for answer in owner.negotiated}
        owner._accepted_cx = {i: a for i, a in answers.items() if a.result == ACCEPTED}
        owner._rejected_cx = [a for a in answers.values() if a.result != ACCEPTED]
        self.send_accept()
        evt.trigger(owner, evt.EVT_ACCEPTED, {})
        owner.is_established = True
        evt.trigger(owner, evt.EVT_ESTABLISHED, {})


def _as_context(answer: NegotiatedContext) -> PresentationContext:
    context = PresentationContext()
    context.context_id = answer.context_id
    # past the setters, which validate and warn: the peer's UIDs were checked when the request was read
    context._abstract_syntax = UID(answer.abstract_syntax)
    context._transfer_syntax = [UID(answer.transfer_syntax)]
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
        self.reactor = GuardedDul(self) if callbacks.store is None else FastDul(self, callbacks.store)
        self.messages = GuardedDimse(self)
        self.acse, self.dul, self.dimse = GuardedAcse(self), self.reactor, self.messages
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
        self.set_socket((GuardedSocket if callbacks.store is None else StagedSocket)(self, client, prefetched))

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

    def context_of(self, context_id: int) -> NegotiatedContext:
        """Return what was agreed on for a presentation context."""
        return next(context for context in self.negotiated if context.context_id == context_id)

    def kill(self) -> None:
        """End both threads; waits for the reactor, which first brings the state machine to its end."""
        self._reactor_checkpoint.set()
        self._kill = self._is_paused = True
        self.is_established = False
        self.reactor.wake()
        if self.reactor.is_alive() and threading.current_thread() is not self.reactor:
            self.reactor.join()

    @property
    def is_killed(self) -> bool:
        """Whether nothing more is to be served."""
        return self._kill

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
            self.reactor.wire.send(abort())
            self.note_end("An internal error ended the association.")
        finally:
            self.dul.kill_dul()
            self.reactor.wire._shutdown_socket()
            self.messages.give_back()
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
            context_id, request, held = self.messages.requests.get(block=False)
        except queue.Empty:
            return False
        context = self._accepted_cx[context_id]
        try:
            if isinstance(request, C_ECHO):
                VerificationServiceClass(self).SCP(request, context)
            else:
                StorageServiceClass(self).SCP(request, context)
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
        elif self.reactor.is_busy:
            return not self.dul.is_alive()
        elif self.dul.idle_timer_expired():
            self.note_end(f"No traffic for {self.limits.idle_timeout_s:g} s.")
            self.abort()
        elif self.messages.seconds_in_message > self.limits.dimse_timeout_s:
            self.note_end(f"A message was not complete: nothing more of it for {self.limits.dimse_timeout_s:g} s.")
            self.abort()
        else:
            return not self.dul.is_alive()
        return True
