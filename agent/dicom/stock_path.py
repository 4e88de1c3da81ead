"""The receive path: associations of one receiver process.

Job: own the AE, start an association for an admitted connection, hand each C-STORE request to ``intake`` with the
data set's bytes exactly as they were on the wire: whole from pynetdicom's message assembly (``StockPath``), or in
pieces from ``guard``, in the thread that read them (``FastPath``; the setting ``dicom.fast_path``). Place: created by
``receiver``. It must never decode or re-encode a data set.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO
from typing import cast

from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.dimse_primitives import C_STORE

from agent.clock import SystemClock
from agent.config import DicomSettings
from agent.dicom.associations import AssociationClosed, AssociationOpened
from agent.dicom.guard import Callbacks, GuardedAssociation, Limits, StoreRequest
from agent.dicom.intake import SUCCESS, Answer, IncomingObject, Intake
from agent.store.objects import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

SOP_CLASS_NOT_SUPPORTED = 0x0122
ABORT_WAIT_S = 2.0

_clock = SystemClock()


@dataclass(slots=True)
class _Running:
    association: GuardedAssociation
    connection_id: str
    address: str
    objects: int = 0
    refused_objects: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class PathEvents:
    """Who hears of associations."""

    opened: Callable[[AssociationOpened], None]
    closed: Callable[[AssociationClosed], None]
    connection_gone: Callable[[str], None]


class StockPath:
    """All associations of one receiver process.

    Parameters
    ----------
    name : str
        Name of the receiver.
    settings : DicomSettings
        AE title.
    limits : Limits
        What one association may cost.
    intake : Intake
        Stores objects.
    events : PathEvents
        Who hears of associations.
    """

    def __init__(self, name: str, settings: DicomSettings, limits: Limits, intake: Intake, events: PathEvents) -> None:
        self._name, self._limits, self._intake, self._events = name, limits, intake, events
        self._ae = ApplicationEntity(settings.ae_title)
        self._ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        self._ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        self._running: dict[str, _Running] = {}
        self._lock = threading.Lock()
        self._emptied = threading.Condition(self._lock)
        self._callbacks = self._make_callbacks()

    def _make_callbacks(self) -> Callbacks:
        return Callbacks(
            opened=self._opened,
            ended=self._ended,
            handlers=[(evt.EVT_C_STORE, self._on_store), (evt.EVT_C_ECHO, lambda _event: SUCCESS)],
        )

    def serve(self, client: socket.socket, request: bytes, connection_id: str, address: str) -> None:
        """Start the association of an admitted connection; `request` is its A-ASSOCIATE-RQ as it was read."""
        association = GuardedAssociation(
            self._ae, client, request, identity=connection_id, limits=self._limits, callbacks=self._callbacks
        )
        with self._lock:
            self._running[connection_id] = _Running(association, connection_id, address)
        association.start()

    def traffic(self) -> dict[str, float]:
        """Return the age in seconds of the last traffic of each association."""
        now = _clock.monotonic()
        with self._lock:
            return {i: now - r.association.last_traffic for i, r in self._running.items()}

    def stop(self, grace_s: float) -> None:
        """Let associations end by themselves for `grace_s`, then abort those that remain."""
        with self._emptied:
            self._emptied.wait_for(lambda: not self._running, grace_s)
            remaining = list(self._running.values())
        for running in remaining:
            running.association.note_end("The agent is shutting down.")
            running.association.abort(block=False)
        with self._emptied:
            self._emptied.wait_for(lambda: not self._running, ABORT_WAIT_S)

    def _opened(self, association: GuardedAssociation) -> None:
        running = self._running[association.identity]
        self._events.opened(
            AssociationOpened(
                id=association.identity,
                receiver=self._name,
                calling_aet=association.calling_aet,
                called_aet=association.called_aet,
                address=running.address,
                opened_at=_clock.timestamp(),
                contexts=association.negotiated,
            )
        )

    def _ended(self, association: GuardedAssociation) -> None:
        with self._emptied:
            running = self._running.pop(association.identity)
            if not self._running:
                self._emptied.notify_all()
        if association.negotiated:
            age = _clock.monotonic() - association.last_traffic
            now = _clock.timestamp()
            self._events.closed(
                AssociationClosed(
                    id=association.identity,
                    receiver=self._name,
                    closed_at=now,
                    outcome="released" if association.is_released else "aborted",
                    reason="" if association.is_released else association.end_reason or "The connection was lost.",
                    objects=running.objects,
                    refused_objects=running.refused_objects,
                    bytes=running.bytes,
                    last_traffic_at=now - age,
                )
            )
        self._events.connection_gone(running.connection_id)

    def _on_store(self, event: evt.Event) -> int | Dataset:
        """Answer a C-STORE request; the statuses are those of :meth:`agent.dicom.intake.Intake.store`."""
        association = cast("GuardedAssociation", event.assoc)
        request, context = cast("C_STORE", event.request), event.context
        incoming = IncomingObject(
            sop_class_uid=str(request.AffectedSOPClassUID).strip("\0 "),
            sop_uid=str(request.AffectedSOPInstanceUID).strip("\0 "),
            transfer_syntax_uid=str(context.transfer_syntax),
            calling_aet=association.calling_aet,
            called_aet=association.called_aet,
            association_id=association.identity,
            dataset=cast("BytesIO", request.DataSet).getbuffer(),
        )
        answer = self._answer(association, incoming, str(context.abstract_syntax))
        return SUCCESS if answer.status == SUCCESS else _status(answer)

    def _answer(self, association: GuardedAssociation, incoming: IncomingObject, abstract_syntax: str) -> Answer:
        """Store and count."""
        if incoming.sop_class_uid != abstract_syntax:
            answer = Answer(SOP_CLASS_NOT_SUPPORTED, "Not the SOP Class of the presentation context")
        else:
            answer = self._intake.store(incoming)
        running = self._running[association.identity]
        if answer.status == SUCCESS:
            running.objects += 1
            running.bytes += answer.size_bytes
        else:
            running.refused_objects += 1
        return answer


class FastPath(StockPath):
    """The same, but objects are stored while they come; never holds a whole one."""

    def _make_callbacks(self) -> Callbacks:
        return replace(super()._make_callbacks(), store=self._store)

    def _store(self, association: GuardedAssociation, request: StoreRequest) -> Answer:
        context = association.context_of(request.context_id)
        incoming = IncomingObject(
            sop_class_uid=request.sop_class_uid,
            sop_uid=request.sop_uid,
            transfer_syntax_uid=context.transfer_syntax,
            calling_aet=association.calling_aet,
            called_aet=association.called_aet,
            association_id=association.identity,
            dataset=request.beginning,
            rest=request.rest,
        )
        return self._answer(association, incoming, context.abstract_syntax)


def _status(answer: Answer) -> Dataset:
    status = Dataset()
    status.Status = answer.status
    if answer.comment:
        status.ErrorComment = answer.comment[:64]
    return status
