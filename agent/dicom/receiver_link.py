"""The private line between the engine and one receiver process.

Job: the messages that travel on it, and the receiver's end: study keys asked for once and lent out, arrivals in
batches, events of associations in their order. Place: used by ``receiver``; ``receiver_pool`` holds the other end.
Messages are pickled between our own processes only. It must never let an association's end overtake its arrivals, nor
lend a key that the engine has forgotten.
"""

from __future__ import annotations

import queue
import socket
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from agent.clock import SystemClock
from agent.config import DicomSettings
from agent.dicom.associations import AssociationClosed, AssociationOpened, AssociationRefused
from agent.errors import StorageError
from agent.store.keys import StudyKey
from agent.store.segments import StoredRecord

BATCH_RECORDS = 200
BATCH_S = 0.02
BUSY_BATCH_S = 0.08
"""What a batch waits longer when images come quickly: the engine pays for each batch, not for each image."""
BUSY_RECORDS = 4
QUEUE_LIMIT = 5000
KEY_TIMEOUT_S = 30.0
KEYS_KEPT = 512
DELIVERY_LIMIT = 256

_clock = SystemClock()


@dataclass(frozen=True, slots=True)
class ReceiverConfig:
    """What a receiver process needs to know; it opens no database and no master key."""

    name: str
    dicom: DicomSettings
    segments: Path
    segment_bytes: int
    hard_margin_percent: float
    sync: bool
    log_level: str
    log_format: str


@dataclass(frozen=True, slots=True)
class Ready:
    """The receiver serves."""


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """The key of a study is needed."""

    study_uid: str


@dataclass(frozen=True, slots=True)
class KeyAnswer:
    """The key, or why there is none."""

    study_uid: str
    key: StudyKey | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Records that are durable."""

    records: tuple[StoredRecord, ...]


@dataclass(frozen=True, slots=True)
class ConnectionGone:
    """A connection that was handed over is closed."""

    connection_id: str


@dataclass(frozen=True, slots=True)
class Traffic:
    """Age in seconds of the last traffic of the open associations."""

    ages: dict[str, float]


@dataclass(frozen=True, slots=True)
class Forget:
    """The key of a study must not be used any more."""

    study_uid: str
    number: int


@dataclass(frozen=True, slots=True)
class Forgotten:
    """It is not; all arrivals under it went before this message."""

    number: int


@dataclass(frozen=True, slots=True)
class Stop:
    """End in order."""

    grace_s: float


@dataclass(frozen=True, slots=True)
class Stopped:
    """The last message: everything is written and told."""


FromReceiver = (
    Ready | KeyRequest | Arrivals | ConnectionGone | Traffic | Forgotten | Stopped
    | AssociationOpened | AssociationClosed | AssociationRefused
)  # fmt: skip
ToReceiver = KeyAnswer | Forget | Stop


@dataclass(slots=True)
class _Loan:
    """The key of one study and how many threads use or await it."""

    users: int = 0
    key: StudyKey | None = None
    error: str = ""
    answered: threading.Event = field(default_factory=threading.Event)


class StudyKeyLoans:
    """Keys of the studies that are arriving; bounded, least recently used first out."""

    def __init__(self, ask: Line) -> None:
        self._line = ask
        self._loans: OrderedDict[str, _Loan] = OrderedDict()
        self._lock = threading.Lock()
        self._returned = threading.Condition(self._lock)

    @contextmanager
    def lend(self, study_uid: str) -> Iterator[StudyKey]:
        """Lend the key of a study for one write.

        Raises
        ------
        StorageError
            If the engine has none to give.
        """
        with self._lock:
            loan = self._loans.get(study_uid)
            is_first = loan is None
            if loan is None:
                loan = self._loans[study_uid] = _Loan()
            self._loans.move_to_end(study_uid)
            loan.users += 1
        try:
            if is_first:
                self._ask(study_uid, loan)
            if not loan.answered.wait(KEY_TIMEOUT_S):
                self._drop(study_uid, loan)
                raise StorageError("The engine gave no study key in time.", code="no_study_key")
            if loan.key is None:
                self._drop(study_uid, loan)
                raise StorageError(f"The engine gave no study key ({loan.error}).", code="no_study_key")
            yield loan.key
        finally:
            with self._returned:
                loan.users -= 1
                self._returned.notify_all()
                self._shrink()

    def answer(self, message: KeyAnswer) -> None:
        """Take the engine's answer; called by the line's reader before it reads on."""
        with self._lock:
            loan = self._loans.get(message.study_uid)
        if loan is not None:
            loan.key, loan.error = message.key, message.error
            loan.answered.set()

    def forget(self, study_uid: str) -> None:
        """Stop lending the key of a study, and return when no write uses it any more.

        A request that is not answered yet stays: what the engine sends after its wish to forget is another key.
        """
        with self._returned:
            loan = self._loans.get(study_uid)
            if loan is None or not loan.answered.is_set():
                return
            del self._loans[study_uid]
            self._returned.wait_for(lambda: loan.users == 0)

    def _ask(self, study_uid: str, loan: _Loan) -> None:
        try:
            self._line.send(KeyRequest(study_uid))
        except StorageError as error:
            loan.error = error.code
            loan.answered.set()

    def _drop(self, study_uid: str, loan: _Loan) -> None:
        with self._lock:
            if self._loans.get(study_uid) is loan:
                del self._loans[study_uid]

    def _shrink(self) -> None:
        while len(self._loans) > KEYS_KEPT:
            idle = next((uid for uid, loan in self._loans.items() if loan.users == 0), None)
            if idle is None:
                return
            del self._loans[idle]


class Line:
    """The receiver's end: one thread writes batches, so that order holds and nobody waits for the engine.

    Parameters
    ----------
    connection : Connection
        The pipe to the engine.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._outgoing: deque[FromReceiver | StoredRecord] = deque()
        self._changed = threading.Condition()
        self._is_urgent = False
        self._is_ending = False
        self._sending = threading.Lock()
        self._writer = threading.Thread(target=self._write, name="line-writer", daemon=True)
        self._writer.start()

    def send(self, message: FromReceiver) -> None:
        """Send at once, ahead of what is queued; for messages whose order does not matter.

        Raises
        ------
        StorageError
            If the engine has gone.
        """
        try:
            with self._sending:
                self._connection.send(message)
        except OSError as error:
            raise StorageError("The engine has gone.", code="engine_gone") from error

    def queue(self, message: FromReceiver | StoredRecord) -> None:
        """Send after everything that was queued before; a record waits for others, 0.1 s at most."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._outgoing) < QUEUE_LIMIT or self._is_ending)
            self._outgoing.append(message)
            if not isinstance(message, StoredRecord) or len(self._outgoing) >= BATCH_RECORDS:
                self._is_urgent = True
            elif len(self._outgoing) > 1:
                return  # the writer is awake and lets the batch grow
            self._changed.notify_all()

    def receive(self) -> ToReceiver:
        """Wait for the engine's next message.

        Raises
        ------
        EOFError, OSError
            If the engine has gone.
        """
        message: ToReceiver = self._connection.recv()
        return message

    def finish(self, timeout_s: float) -> None:
        """Send everything that is queued and stop writing."""
        with self._changed:
            self._is_ending = True
            self._changed.notify_all()
        self._writer.join(timeout_s)

    def _write(self) -> None:
        """Thread main: records become batches; any other message goes out after the batch before it."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._outgoing or self._is_ending)
                if not self._outgoing:
                    return
                is_due = self._changed.wait_for(lambda: self._is_urgent or self._is_ending, BATCH_S)
                if not is_due and len(self._outgoing) >= BUSY_RECORDS:
                    self._changed.wait_for(lambda: self._is_urgent or self._is_ending, BUSY_BATCH_S)
                waiting, self._outgoing, self._is_urgent = self._outgoing, deque(), False
                self._changed.notify_all()
            batch: list[StoredRecord] = []
            for message in waiting:
                if isinstance(message, StoredRecord):
                    batch.append(message)
                    if len(batch) < BATCH_RECORDS:
                        continue
                    other = None
                else:
                    other = message
                if not self._deliver(batch, other):
                    self._give_up()
                    return
                batch = []
            if batch and not self._deliver(batch, None):
                self._give_up()
                return

    def _give_up(self) -> None:
        """The engine has gone: nobody waits for room any more."""
        with self._changed:
            self._is_ending = True
            self._changed.notify_all()

    def _deliver(self, batch: list[StoredRecord], message: FromReceiver | None) -> bool:
        try:
            if batch:
                self.send(Arrivals(tuple(batch)))
            if message is not None:
                self.send(message)
        except StorageError:
            return False
        return True


ReceiverMain = Callable[[ReceiverConfig, Connection, socket.socket], None]


class ReceiverHandle:
    """One receiver process as the engine sees it."""

    def __init__(self, config: ReceiverConfig, context: ForkServerContext, main: ReceiverMain) -> None:
        self.name = config.name
        self.started_at = _clock.monotonic()
        self.line: Connection
        self.line, theirs = context.Pipe(duplex=True)
        self.handover, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.handover.setblocking(False)
        self.process: ForkServerProcess = context.Process(
            target=main, args=(config, theirs, far), name=f"receiver-{config.name}", daemon=True
        )
        self.process.start()
        theirs.close()
        far.close()
        self.sending = threading.Lock()
        self.is_ready = threading.Event()
        self.has_stopped = threading.Event()
        self.is_lost = threading.Event()
        self.connections: set[str] = set()
        self.open: dict[str, tuple[AssociationOpened, float]] = {}
        self.deliveries: queue.Queue[FromReceiver | None] = queue.Queue(DELIVERY_LIMIT)
        self.threads: list[threading.Thread] = []

    def send(self, message: KeyAnswer | Forget | Stop) -> bool:
        """Send a message; False when the receiver is gone."""
        try:
            with self.sending:
                self.line.send(message)
        except OSError:
            return False
        return True

    def give(self, client: socket.socket, told: bytes) -> bool:
        """Hand a connection over; False when the receiver does not take it."""
        try:
            socket.send_fds(self.handover, [told], [client.fileno()])
        except OSError:
            return False
        return True
