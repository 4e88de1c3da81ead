"""The engine's books in small, and a pool on a free port: what the tests of receiving stand on."""

from __future__ import annotations

import hashlib
import multiprocessing
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.context import ForkServerContext
from pathlib import Path

from agent.config import Settings
from agent.dicom.receiver_pool import (
    AssociationClosed,
    AssociationOpened,
    AssociationRefused,
    ReceiverPool,
    Refusal,
)
from agent.store.keys import StudyKey
from agent.store.objects import ObjectReader, ObjectRef
from agent.store.segments import StoredRecord

WAIT_S = 30.0
defaults: dict[str, object] = {"fast_path": True}
"""Settings of the DICOM table that a test does not give; the receive path is chosen here."""


def forkserver() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["agent.dicom.receiver"])
    return context


class Books:
    """Remembers everything; keys are made on the spot."""

    def __init__(self) -> None:
        self.keys: dict[str, StudyKey] = {}
        self.records: list[StoredRecord] = []
        self.opened: list[AssociationOpened] = []
        self.closed: list[AssociationClosed] = []
        self.refused: list[AssociationRefused] = []
        self.lost: list[tuple[str, tuple[str, ...]]] = []
        self.order: list[tuple[str, str]] = []
        self.refusal: Refusal | None = None
        self.key_requests = 0
        self._changed = threading.Condition()

    def study_key(self, study_uid: str) -> StudyKey:
        with self._changed:
            self.key_requests += 1
            name = hashlib.sha256(study_uid.encode()).hexdigest()[:16]
            fresh = StudyKey(secrets.token_hex(8), name, secrets.token_bytes(32))
            return self.keys.setdefault(study_uid, fresh)

    def arrived(self, records: Sequence[StoredRecord]) -> None:
        self._add(self.records, *records)
        self.order += [("arrived", r.header.association_id) for r in records]

    def association_opened(self, a: AssociationOpened) -> None:
        self.order.append(("opened", a.id))
        self._add(self.opened, a)

    def association_closed(self, a: AssociationClosed) -> None:
        self.order.append(("closed", a.id))
        self._add(self.closed, a)

    def association_refused(self, a: AssociationRefused) -> None:
        self._add(self.refused, a)

    def receiver_lost(self, receiver: str, open_associations: Sequence[str]) -> None:
        self._add(self.lost, (receiver, tuple(open_associations)))

    def is_accepting(self) -> Refusal | None:
        return self.refusal

    def _add(self, what: list, *items: object) -> None:
        with self._changed:
            what.extend(items)
            self._changed.notify_all()

    def wait(self, condition: Callable[[], bool], timeout_s: float = WAIT_S) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, timeout_s), "the books did not say so in time"

    def secrets(self) -> dict[str, bytes]:
        return {key.key_id: key.secret for key in self.keys.values()}


class Stand:
    """A running pool with its books."""

    def __init__(self, pool: ReceiverPool, books: Books, segments: Path) -> None:
        self.pool, self.books, self.segments = pool, books, segments

    @property
    def port(self) -> int:
        return self.pool.port

    def stored(self, record: StoredRecord) -> bytes:
        header = record.header
        ref = ObjectRef(
            instance_id=0, segment=record.segment, offset=record.offset, length=record.length, key_id=record.key_id,
            size_bytes=record.size_bytes, sha256=record.sha256, sop_class_uid=header.sop_class_uid, sop_uid=header.sop_uid,
            series_uid=header.series_uid, transfer_syntax_uid=header.transfer_syntax_uid,
        )  # fmt: skip
        with ObjectReader(self.segments, self.books.secrets()) as reader:
            return reader.read(ref)

    def digests(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for record in list(self.books.records):
            digest = hashlib.sha256(self.stored(record)).hexdigest()
            assert digest == record.sha256
            counts[digest] = counts.get(digest, 0) + 1
        return counts


def settings(folder: Path, **dicom: object) -> Settings:
    return Settings(
        data_dir=folder,
        dicom={"host": "127.0.0.1", "port": 0, "receivers": 1, **defaults, **dicom},
        store={"segment_bytes": 8_388_608, "soft_margin_percent": 0, "hard_margin_percent": 0},
        log={"level": "warning"},
    )


@contextmanager
def receiving(folder: Path, books: Books | None = None, **dicom: object) -> Iterator[Stand]:
    """A pool that receives on a free port of 127.0.0.1."""
    books = books or Books()
    segments = folder / "segments"
    pool = ReceiverPool(settings(folder, **dicom), segments, forkserver(), books)
    pool.start()
    try:
        yield Stand(pool, books, segments)
    finally:
        pool.stop(5.0)
