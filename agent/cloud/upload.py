"""The upload of one order.

Job: de-identify and send the objects of an order over several connections, keep going through outages, resume after a
crash, and commit the order with its manifest when everything is verified. Place: run by the uploader in a thread of its
own; calls a :class:`~agent.cloud.contract.Cloud`, a function that prepares one object and a ledger that is durable in
the caller's store. It must never hold more prepared objects than it has connections, never send an object twice, and
never write the manifest early.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from agent.clock import Clock, SystemClock
from agent.cloud.contract import Cloud, PartLedger
from agent.cloud.package import Manifest, ManifestObject, instance_key, order_prefix, sealed_manifest
from agent.cloud.patience import Halted, Patience
from agent.config import CloudSettings
from agent.errors import CloudError, Permanent
from agent.metrics import UPLOAD_RETRIES, UPLOADED_BYTES, UPLOADED_OBJECTS

_VERIFY_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class PlannedObject:
    """An object that belongs to an order: its number (from 1) and the instance it is made of."""

    number: int
    instance_id: int


@dataclass(frozen=True, slots=True)
class SentObject:
    """An object that the cloud has confirmed."""

    number: int
    instance_id: int
    key: str
    size_bytes: int
    sha256: str
    etag: str


class Prepared(Protocol):
    """A de-identified object, or the reason why it stays here."""

    @property
    def data(self) -> bytes:
        """Part 10 bytes; the same for the same instance and keys."""
        ...

    @property
    def sha256(self) -> str:
        """SHA-256 of `data`, hexadecimal."""
        ...

    @property
    def excluded_because(self) -> str | None:
        """Why it is not sent; None when it is."""
        ...


class OrderLedger(Protocol):
    """What the caller keeps durably about an order.

    Each call returns after its commit; calls come from several threads.
    """

    def sent(self) -> Mapping[int, SentObject]:
        """Return the confirmed objects by number."""
        ...

    def excluded(self) -> Mapping[int, str]:
        """Return the numbers that are not sent, with the reason."""
        ...

    def record_sent(self, sent: SentObject) -> None:
        """Keep a confirmed object."""
        ...

    def record_excluded(self, planned: PlannedObject, reason: str) -> None:
        """Keep that an object is not sent."""
        ...

    def forget(self, number: int) -> None:
        """Drop a confirmed object that the cloud turned out not to have."""
        ...

    def parts_of(self, planned: PlannedObject) -> PartLedger:
        """Return the ledger of the parts of one object."""
        ...


@dataclass(frozen=True, slots=True)
class UploadProgress:
    """How far an order is."""

    done_objects: int
    total_objects: int
    done_bytes: int


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be uploaded."""

    order: str
    revision: int
    study_uid: str
    profile: str
    objects: tuple[PlannedObject, ...]


@dataclass(frozen=True, slots=True)
class UploadHooks:
    """What the caller hands in.

    Parameters
    ----------
    prepare : callable
        De-identifies one object; called from several threads.
    progress : callable
        Told after every object.
    problem : callable
        Told in words when an outage begins, and ``None`` when it is over.
    outbound : callable
        Reads the manifest's text before it leaves; raises when it holds an identifier.
    """

    prepare: Callable[[PlannedObject], Prepared]
    progress: Callable[[UploadProgress], None]
    problem: Callable[[CloudError | None], None]
    outbound: Callable[[str], None]


class Halt:
    """The switch that ends an upload: to cancel the order, or to go on with it after the next start."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.is_cancelled = False

    def cancel(self) -> None:
        """End the upload and declare the order void."""
        self.is_cancelled = True
        self.event.set()

    def stop(self) -> None:
        """End the upload; the order goes on later."""
        self.event.set()


class UploadOutcome(StrEnum):
    """How an upload ended."""

    COMMITTED = "committed"
    CANCELLED = "cancelled"
    STOPPED = "stopped"


class OrderUpload:
    """One order on its way.

    Parameters
    ----------
    cloud : Cloud
        Where to.
    settings : CloudSettings
        Connections, back-off, refusals.
    hooks : UploadHooks
        What the caller hands in.
    clock : Clock, optional
        What waits between attempts.
    """

    def __init__(self, cloud: Cloud, settings: CloudSettings, hooks: UploadHooks, clock: Clock | None = None) -> None:
        self._cloud, self._settings, self._hooks = cloud, settings, hooks
        self._clock = clock or SystemClock()

    def run(self, order: Order, ledger: OrderLedger, halt: Halt) -> UploadOutcome:
        """Upload `order`; what the ledger already holds is not sent again.

        Returns
        -------
        UploadOutcome
            ``committed`` once the manifest is in place.

        Raises
        ------
        Permanent
            When the cloud refuses for good.
        AgentError
            Whatever `prepare` or `outbound` raise, for example DeidError.
        """
        patience = Patience(self._settings, self._clock, halt.event, self._hooks.problem)
        try:
            self._send_all(order, ledger, halt, patience)
            self._commit(order, ledger, patience)
        except CloudError:  # what was told of it is still true
            raise
        except Halted:
            patience.tell(None)
            return self._halted(order, ledger, halt)
        except BaseException:
            patience.tell(None)
            raise
        patience.tell(None)
        return UploadOutcome.COMMITTED

    # ------------------------------------------------------------------ objects

    def _send_all(self, order: Order, ledger: OrderLedger, halt: Halt, patience: Patience) -> None:
        for _ in range(_VERIFY_ROUNDS):
            self._send_missing(order, ledger, halt, patience)
            lost = patience.keep_trying(lambda: self._lost(order, ledger))
            if not lost:
                return
            for number in lost:
                ledger.forget(number)
        raise Permanent(
            "The cloud does not keep what it confirmed.",
            code="cloud_unverified",
            hint="Ask its operator whether something deletes or changes objects under studies/.",
        )

    def _send_missing(self, order: Order, ledger: OrderLedger, halt: Halt, patience: Patience) -> None:
        sent, excluded = ledger.sent(), ledger.excluded()
        missing = [p for p in order.objects if p.number not in sent and p.number not in excluded]
        total = len(order.objects)
        run = _Run(missing, UploadProgress(total - len(missing), total, _bytes_of(sent.values())))
        self._hooks.progress(run.progress)

        def send(planned: PlannedObject) -> None:
            self._send_one(instance_key(order.order, planned.number), planned, run, ledger, patience)

        threads = [
            threading.Thread(target=_work, args=(run, halt.event, send), name=f"upload-{n}", daemon=True)
            for n in range(min(self._settings.connections, len(missing)))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if run.failure is not None:
            raise run.failure
        if halt.event.is_set():
            raise Halted

    def _send_one(self, key: str, planned: PlannedObject, run: _Run, ledger: OrderLedger, patience: Patience) -> None:
        prepared = self._hooks.prepare(planned)
        if prepared.excluded_because is not None:
            ledger.record_excluded(planned, prepared.excluded_because)
            run.done(0, self._hooks.progress)
            return
        data, sha256 = prepared.data, prepared.sha256
        parts = ledger.parts_of(planned)
        result = patience.keep_trying(lambda: self._cloud.put_object(key, data, sha256, parts), run.has_failed)
        ledger.record_sent(SentObject(planned.number, planned.instance_id, key, len(data), sha256, result.etag))
        UPLOADED_OBJECTS.inc()
        UPLOADED_BYTES.inc(result.sent_bytes)
        run.done(len(data), self._hooks.progress)

    def _lost(self, order: Order, ledger: OrderLedger) -> list[int]:
        """Return the numbers that the cloud does not hold as it confirmed them."""
        stored = self._cloud.list_objects(order_prefix(order.order) + "instances/")
        lost = []
        for number, sent in ledger.sent().items():
            there = stored.get(sent.key)
            if there is None or (there.size_bytes, there.etag) != (sent.size_bytes, sent.etag):
                lost.append(number)
        return lost

    # ------------------------------------------------------------------ end

    def _commit(self, order: Order, ledger: OrderLedger, patience: Patience) -> None:
        sent, excluded = ledger.sent(), ledger.excluded()
        if not sent:
            raise Permanent(
                "No object of the study may leave.", code="nothing_to_send", hint="See its de-identification page."
            )
        manifest = Manifest(
            order=order.order,
            revision=order.revision,
            study_uid=order.study_uid,
            profile=order.profile,
            objects=tuple(
                ManifestObject(number=n, key=sent[n].key, size_bytes=sent[n].size_bytes, sha256=sent[n].sha256)
                for n in sorted(sent)
            ),
            excluded=len(excluded),
        )
        data = sealed_manifest(manifest, self._hooks.outbound)
        patience.keep_trying(lambda: self._cloud.put_manifest(order.order, data))

    def _halted(self, order: Order, ledger: OrderLedger, halt: Halt) -> UploadOutcome:
        if not halt.is_cancelled:
            return UploadOutcome.STOPPED
        sent = ledger.sent()
        try:
            for planned in order.objects:
                if planned.number not in sent:
                    self._cloud.abandon(instance_key(order.order, planned.number), ledger.parts_of(planned))
            self._cloud.put_cancel(order.order, "cancelled")
        except CloudError:
            # without a manifest the order never counts: the mark need not wait for an outage to end
            UPLOAD_RETRIES.labels("cancel_unwritten").inc()
        return UploadOutcome.CANCELLED


def _work(run: _Run, halt: threading.Event, send: Callable[[PlannedObject], None]) -> None:
    """Main of a connection's thread: take objects until none is left or one has failed."""
    try:
        for planned in run.take(halt):
            send(planned)
    except Halted:
        return
    except BaseException as error:
        run.fail(error)


class _Run:
    """What the connections of one order share."""

    def __init__(self, missing: Sequence[PlannedObject], progress: UploadProgress) -> None:
        self._queue = list(reversed(missing))
        self._lock = threading.Lock()
        self.progress = progress
        self.failure: BaseException | None = None

    def take(self, halt: threading.Event) -> Iterator[PlannedObject]:
        """Yield objects until none is left, one has failed or the upload is halted."""
        while not halt.is_set():
            with self._lock:
                if not self._queue or self.failure is not None:
                    return
                planned = self._queue.pop()
            yield planned

    def done(self, size_bytes: int, tell: Callable[[UploadProgress], None]) -> None:
        """Count one object and tell how far the order is."""
        with self._lock:
            before = self.progress
            self.progress = UploadProgress(
                before.done_objects + 1, before.total_objects, before.done_bytes + size_bytes
            )
            tell(self.progress)

    def has_failed(self) -> bool:
        """Say whether the order cannot be completed any more."""
        return self.failure is not None

    def fail(self, error: BaseException) -> None:
        """Keep the first failure; the others end soon after."""
        with self._lock:
            self.failure = self.failure or error


def _bytes_of(sent: Iterable[SentObject]) -> int:
    return sum(one.size_bytes for one in sent)
