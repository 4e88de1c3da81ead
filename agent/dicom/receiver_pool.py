"""The engine's side of receiving.

Job: own the listener and the receiver processes; answer their requests for study keys, pass on arrivals and events in
order, start a dead receiver again, end in order. Place: created by ``engine``; calls ``ReceiverEvents``. It must
never fork: processes come from the forkserver context it is given.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Protocol

from agent import metrics
from agent.clock import SystemClock
from agent.config import Settings
from agent.dicom.associations import (
    AssociationClosed,
    AssociationOpened,
    AssociationRefused,
    OpenAssociation,
    Refusal,
)
from agent.dicom.listener import Listener, open_listening_socket
from agent.dicom.receiver import run_receiver
from agent.dicom.receiver_link import (
    Arrivals,
    ConnectionGone,
    Forget,
    Forgotten,
    FromReceiver,
    KeyAnswer,
    KeyRequest,
    Ready,
    ReceiverConfig,
    ReceiverHandle,
    Stop,
    Stopped,
    Traffic,
)
from agent.errors import AgentError, StorageError
from agent.logs import get_logger
from agent.store.keys import StudyKey
from agent.store.segments import StoredRecord

__all__ = [
    "AssociationClosed",
    "AssociationOpened",
    "AssociationRefused",
    "OpenAssociation",
    "ReceiverEvents",
    "ReceiverPool",
    "Refusal",
]

READY_WITHIN_S = 30.0
BACK_OFF_FIRST_S = 0.1
BACK_OFF_MAX_S = 10.0
STEADY_S = 30.0
NO_RECEIVER_WAIT_S = 2.0
KEY_THREADS = 8

_clock = SystemClock()
log = get_logger("receiver_pool")


class ReceiverEvents(Protocol):
    """What the engine does with what receivers report; called in threads of the pool."""

    def study_key(self, study_uid: str) -> StudyKey:
        """Return the committed key of a study."""
        ...

    def arrived(self, records: Sequence[StoredRecord]) -> None:
        """Index records that are durable."""
        ...

    def association_opened(self, a: AssociationOpened) -> None:
        """Book an association."""
        ...

    def association_closed(self, a: AssociationClosed) -> None:
        """Book its end; all its arrivals came before."""
        ...

    def association_refused(self, a: AssociationRefused) -> None:
        """Book a refusal."""
        ...

    def receiver_lost(self, receiver: str, open_associations: Sequence[str]) -> None:
        """Recover the segments of a receiver that died."""
        ...

    def is_accepting(self) -> Refusal | None:
        """Return why new associations are refused just now, or None."""
        ...


class ReceiverPool:
    """Listener and receivers.

    Parameters
    ----------
    settings : Settings
        Sections ``dicom``, ``store``, ``log``.
    segments : Path
        Where receivers write.
    context : ForkServerContext
        Where processes come from; preload ``agent.dicom.receiver`` in it.
    events : ReceiverEvents
        The engine's books.
    """

    def __init__(self, settings: Settings, segments: Path, context: ForkServerContext, events: ReceiverEvents) -> None:
        self._settings, self._segments, self._context, self._events = settings, segments, context, events
        self._receivers: list[ReceiverHandle] = []
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._stopping = threading.Event()
        self._listener: Listener | None = None
        self._port = 0
        self._forgetting: dict[int, threading.Event] = {}
        self._forgets = 0
        self._answering = threading.Lock()
        self._key_threads = ThreadPoolExecutor(KEY_THREADS, "study-key")
        self._back_off_s = 0.0

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._port

    def pids(self) -> list[int]:
        """Return the process ids of the receivers."""
        with self._lock:
            return [r.process.pid for r in self._receivers if r.process.pid is not None]

    def open_associations(self) -> list[OpenAssociation]:
        """Return what is open, with the age of its last traffic (1 s coarse)."""
        now = _clock.monotonic()
        with self._lock:
            return [
                OpenAssociation(a.id, a.calling_aet, a.address, now - at)
                for r in self._receivers
                for a, at in r.open.values()
            ]

    def start(self) -> None:
        """Listen, start the receivers, accept.

        Raises
        ------
        ConfigError
            If the port cannot be listened on.
        StorageError
            If no receiver came up.
        """
        dicom = self._settings.dicom
        listening = open_listening_socket(dicom.host, dicom.port)
        self._port = listening.getsockname()[1]
        started = [self._start_receiver() for _ in range(dicom.receivers or _default_receivers())]
        if not all(receiver.is_ready.wait(READY_WITHIN_S) for receiver in started):
            listening.close()
            self.stop(1.0)
            raise StorageError("A receiver process did not come up.", code="receiver_start", hint="See the log above.")
        self._listener = Listener(dicom, listening, self._hand_over, self._events.is_accepting, self._guarded_refused)
        self._listener.start()

    def stop(self, timeout_s: float) -> None:
        """End in order: accept no more, let associations end or abort them, take all arrivals, close segments."""
        deadline = _clock.monotonic() + timeout_s
        self._stopping.set()
        if self._listener is not None:
            self._listener.stop(1.0)
        receivers = self._present()
        grace_s = max(0.0, timeout_s - 4.0)
        for receiver in receivers:
            receiver.send(Stop(grace_s))
        for receiver in receivers:
            for thread in receiver.threads:
                thread.join(max(0.1, deadline - _clock.monotonic()))
            receiver.process.join(max(0.1, deadline - _clock.monotonic()))
            if receiver.process.is_alive():
                log.warning("receiver_killed", receiver=receiver.name)
                receiver.process.kill()
                receiver.process.join(1.0)
            receiver.line.close()
            receiver.handover.close()
        self._key_threads.shutdown(wait=False, cancel_futures=True)

    def forget_study(self, study_uid: str, timeout_s: float = 10.0) -> bool:
        """Make every receiver stop using the key of a study; to be called before it is shredded.

        Returns
        -------
        bool
            True when no receiver uses it any more and all records under it were reported.
        """
        waits = []
        for receiver in self._present():
            done = threading.Event()
            with self._answering:
                self._forgets += 1
                number = self._forgets
                self._forgetting[number] = done
                is_sent = receiver.send(Forget(study_uid, number))
            if is_sent:
                waits.append((receiver, number, done))
        deadline = _clock.monotonic() + timeout_s
        outcome = True
        for receiver, number, done in waits:
            while not (done.wait(0.05) or receiver.is_lost.is_set()) and _clock.monotonic() < deadline:
                pass
            outcome = outcome and (done.is_set() or receiver.is_lost.is_set())
            with self._answering:
                self._forgetting.pop(number, None)
        return outcome

    def _present(self) -> list[ReceiverHandle]:
        with self._lock:
            return list(self._receivers)

    def _start_receiver(self) -> ReceiverHandle:
        settings = self._settings
        config = ReceiverConfig(
            name=f"rx{secrets.token_hex(4)}",
            dicom=settings.dicom,
            segments=self._segments,
            segment_bytes=settings.store.segment_bytes,
            hard_margin_percent=settings.store.hard_margin_percent,
            sync=settings.store.sync,
            log_level=settings.log.level,
            log_format=settings.log.format,
        )
        receiver = ReceiverHandle(config, self._context, run_receiver)
        with self._changed:
            self._receivers.append(receiver)
        for target, what in ((self._read, "line"), (self._deliver, "delivery")):
            thread = threading.Thread(target=target, args=(receiver,), name=f"{what}-{config.name}", daemon=True)
            receiver.threads.append(thread)
            thread.start()
        return receiver

    def _hand_over(self, client: socket.socket, connection_id: str, address: str, refusal: Refusal | None) -> bool:
        reason = [refusal.sentence, refusal.result, refusal.source, refusal.diagnostic] if refusal else None
        told = json.dumps({"id": connection_id, "address": address, "refusal": reason}).encode()
        with self._changed:
            self._changed.wait_for(lambda: any(r.is_ready.is_set() for r in self._receivers), NO_RECEIVER_WAIT_S)
            ready = sorted((r for r in self._receivers if r.is_ready.is_set()), key=lambda r: len(r.connections))
            for receiver in ready:
                receiver.connections.add(connection_id)
                if receiver.give(client, told):
                    return True
                receiver.connections.discard(connection_id)
        return False

    def _read(self, receiver: ReceiverHandle) -> None:
        """Thread main: answer key requests at once, queue the rest for delivery in order."""
        try:
            while True:
                message: FromReceiver = receiver.line.recv()
                if isinstance(message, KeyRequest):
                    self._key_threads.submit(self._answer, receiver, message.study_uid)
                elif isinstance(message, Ready):
                    with self._changed:
                        receiver.is_ready.set()
                        self._changed.notify_all()
                elif isinstance(message, Traffic):
                    self._note_traffic(receiver, message)
                elif isinstance(message, ConnectionGone):
                    self._connection_gone(receiver, message.connection_id)
                else:
                    receiver.deliveries.put(message)
        except (EOFError, OSError):
            self._lost(receiver)

    def _answer(self, receiver: ReceiverHandle, study_uid: str) -> None:
        """Send a study's key; never one that was fetched before a wish to forget and sent after it."""
        while True:
            seen = self._forgets
            answer = self._fetch_key(study_uid)
            with self._answering:
                if seen == self._forgets or answer.key is None:
                    receiver.send(answer)
                    return

    def _fetch_key(self, study_uid: str) -> KeyAnswer:
        try:
            return KeyAnswer(study_uid, self._events.study_key(study_uid))
        except AgentError as error:
            return KeyAnswer(study_uid, None, error.code)
        except Exception:
            # the receiver must get an answer, or its thread waits
            log.exception("study_key_failed")
            return KeyAnswer(study_uid, None, "internal")

    def _note_traffic(self, receiver: ReceiverHandle, message: Traffic) -> None:
        now = _clock.monotonic()
        with self._lock:
            for identity, age in message.ages.items():
                if identity in receiver.open:
                    receiver.open[identity] = (receiver.open[identity][0], now - age)

    def _connection_gone(self, receiver: ReceiverHandle, connection_id: str) -> None:
        with self._lock:
            receiver.connections.discard(connection_id)
        if self._listener is not None:
            self._listener.gone(connection_id)

    def _lost(self, receiver: ReceiverHandle) -> None:
        """The line ended: in order after Stopped, else the process died."""
        with self._changed:
            receiver.is_ready.clear()
            if receiver in self._receivers:
                self._receivers.remove(receiver)
            connections = list(receiver.connections)
        for connection_id in connections:
            self._connection_gone(receiver, connection_id)
        receiver.deliveries.put(None)
        if self._stopping.is_set():
            return
        metrics.RESTARTS.labels("receiver").inc()
        log.warning("receiver_died", receiver=receiver.name)
        receiver.line.close()
        receiver.handover.close()
        self._start_again(receiver)

    def _start_again(self, dead: ReceiverHandle) -> None:
        lived_s = _clock.monotonic() - dead.started_at
        while True:
            self._back_off_s = self._next_back_off(lived_s)
            if _clock.wait(self._stopping, self._back_off_s):
                return
            try:
                self._start_receiver()
            except OSError:
                log.exception("receiver_not_started")
                lived_s = 0.0
            else:
                return

    def _next_back_off(self, lived_s: float) -> float:
        if lived_s > STEADY_S:
            return BACK_OFF_FIRST_S
        return min(BACK_OFF_MAX_S, max(BACK_OFF_FIRST_S, self._back_off_s * 2))

    def _deliver(self, receiver: ReceiverHandle) -> None:
        """Thread main: events of one receiver, in order."""
        while (message := receiver.deliveries.get()) is not None:
            try:
                self._deliver_one(receiver, message)
            except Exception:
                log.exception("receiver_event_failed", kind=type(message).__name__)
        receiver.is_lost.set()
        if not receiver.has_stopped.is_set():
            with self._lock:
                still_open = list(receiver.open)
                receiver.open.clear()
            try:
                self._events.receiver_lost(receiver.name, still_open)
            except Exception:
                log.exception("receiver_recovery_failed")

    def _deliver_one(self, receiver: ReceiverHandle, message: FromReceiver) -> None:
        if isinstance(message, Arrivals):
            self._events.arrived(message.records)
        elif isinstance(message, AssociationOpened):
            with self._lock:
                receiver.open[message.id] = (message, _clock.monotonic())
            metrics.ASSOCIATIONS.labels("opened").inc()
            self._events.association_opened(message)
        elif isinstance(message, AssociationClosed):
            with self._lock:
                receiver.open.pop(message.id, None)
            metrics.ASSOCIATIONS.labels(message.outcome).inc()
            self._events.association_closed(message)
        elif isinstance(message, AssociationRefused):
            self._guarded_refused(message)
        elif isinstance(message, Forgotten):
            with self._answering:
                done = self._forgetting.get(message.number)
            if done is not None:
                done.set()
        elif isinstance(message, Stopped):
            receiver.has_stopped.set()

    def _guarded_refused(self, refused: AssociationRefused) -> None:
        metrics.ASSOCIATIONS.labels("refused").inc()
        self._events.association_refused(refused)


def _default_receivers() -> int:
    return max(1, (os.cpu_count() or 2) - 1)
