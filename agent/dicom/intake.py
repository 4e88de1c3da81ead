"""What becomes of one received object.

Job: check the object against its command, read its facts, store it, and say which DIMSE status the sender gets.
Place: called by ``stock_path`` (and whatever path replaces it) in a thread of the association, calls ``facts`` and
``store.segments``. It must never answer Success before ``SegmentWriter.append`` returned, and never raise: an
exception would become C211, which senders take for a bad object.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

from agent import metrics
from agent.clock import SystemClock
from agent.dicom.facts import HeaderFacts, InstanceUids, PatientIdentifiers, read_beginning, read_facts
from agent.errors import AgentError, BadDataset, StoreFull
from agent.logs import get_logger
from agent.store.keys import StudyKey
from agent.store.segments import RecordHeader, StoredRecord

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
MISMATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000
CHUNK_BYTES = 1 << 20
SPOOL_BYTES = 4 * CHUNK_BYTES
"""Headers longer than a chunk are looked for this far into the data set."""

_clock = SystemClock()
_counters = {
    SUCCESS: metrics.OBJECTS_RECEIVED.labels("stored"),
    OUT_OF_RESOURCES: metrics.OBJECTS_RECEIVED.labels("no_resources"),
    MISMATCH: metrics.OBJECTS_RECEIVED.labels("refused"),
}
log = get_logger("receiver")


class SourceBroken(Exception):
    """The sender did not bring the object to its end; nothing is stored and nothing answered."""


@dataclass(frozen=True, slots=True)
class IncomingObject:
    """A C-STORE request with its data set as it was on the wire.

    A data set that is longer than a chunk may come as its beginning and an iterator over the rest, whose pieces may
    be reused once the next is asked for and which raises `SourceBroken`.
    """

    sop_class_uid: str
    sop_uid: str
    transfer_syntax_uid: str
    calling_aet: str
    called_aet: str
    association_id: str
    dataset: memoryview
    rest: Iterator[memoryview] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and Error Comment (0000,0902) of a C-STORE response; the comment holds no patient data."""

    status: int
    comment: str = ""
    size_bytes: int = 0
    """Of the data set, when it was stored."""


class Writer(Protocol):
    """What is used of ``SegmentWriter``."""

    def append(self, key: StudyKey, header: RecordHeader, chunks: Iterable[memoryview | bytes]) -> StoredRecord:
        """Store durably."""
        ...


class Intake:
    """Stores objects; one a receiver process, used by many threads.

    Parameters
    ----------
    writer : Writer
        The receiver's segments.
    key_of : callable
        Context manager that lends the data key of a study.
    arrived : callable
        Told of every record after it is durable.
    """

    def __init__(
        self,
        writer: Writer,
        key_of: Callable[[str], AbstractContextManager[StudyKey]],
        arrived: Callable[[StoredRecord], None],
    ) -> None:
        self._writer, self._key_of, self._arrived = writer, key_of, arrived
        self.is_stopping = False

    def store(self, incoming: IncomingObject) -> Answer:
        """Store one object and return what the sender is told.

        ====== ============================== ====================================================================
        Status Meaning (PS3.4 table B.2-1)    When
        ====== ============================== ====================================================================
        0000   Success                        encrypted bytes and record header are synced; never earlier
        A700   Refused: out of resources      disk margin, write or sync error, no study key, engine gone, stopping
        A900   Data set does not match        SOP Class or SOP Instance UID of the command differs from the data set
        C000   Cannot understand              no SOP UIDs, a UID with characters no UID has, bytes that do not parse
        0122   SOP class not supported        the command names another SOP class than the presentation context
        ====== ============================== ====================================================================

        Whatever else goes wrong is a fault of ours and answered A700, so that the sender keeps the object. The
        association itself is aborted when a limit is broken (``guard``). 0122 is given by ``stock_path``.

        Raises
        ------
        SourceBroken
            If the rest of the object did not come; there is nobody to answer.
        """
        began = _clock.monotonic()
        try:
            answer = self._store(incoming)
        except SourceBroken:
            raise
        except StoreFull:
            answer = Answer(OUT_OF_RESOURCES, "Storage margin reached")
        except BadDataset as error:
            answer = Answer(CANNOT_UNDERSTAND, error.code.replace("_", " "))
        except AgentError as error:
            log.warning("object_not_stored", code=error.code)
            answer = Answer(OUT_OF_RESOURCES, "Storage failed")
        except Exception:
            log.exception("object_not_stored")
            answer = Answer(OUT_OF_RESOURCES, "Internal error")
        _counters.get(answer.status, _counters[MISMATCH]).inc()
        if answer.status == SUCCESS:
            metrics.BYTES_RECEIVED.inc(answer.size_bytes)
        metrics.STORE_SECONDS.observe(_clock.monotonic() - began)
        return answer

    def _store(self, incoming: IncomingObject) -> Answer:
        if self.is_stopping:
            return Answer(OUT_OF_RESOURCES, "Shutting down")
        (uids, facts, identifiers), chunks = _look_into(incoming)
        if uids.sop_class != incoming.sop_class_uid:
            return Answer(MISMATCH, "SOP Class UID of command and data set differ")
        if uids.sop != incoming.sop_uid:
            return Answer(MISMATCH, "SOP Instance UID of command and data set differ")
        header = _header(incoming, uids, facts, identifiers)
        with self._key_of(uids.study) as key:
            record = self._writer.append(key, header, chunks)
            # inside the loan of the key: a study is forgotten only after its arrivals are on their way
            self._arrived(record)
        return Answer(SUCCESS, size_bytes=record.size_bytes)


def _header(
    incoming: IncomingObject, uids: InstanceUids, facts: HeaderFacts, identifiers: PatientIdentifiers
) -> RecordHeader:
    return RecordHeader(
        study_uid=uids.study,
        series_uid=uids.series,
        sop_uid=uids.sop,
        sop_class_uid=uids.sop_class,
        transfer_syntax_uid=incoming.transfer_syntax_uid,
        calling_aet=incoming.calling_aet,
        called_aet=incoming.called_aet,
        association_id=incoming.association_id,
        received_at=_clock.timestamp(),
        facts_json=f'{{"facts":{facts.to_json()},"identifiers":{identifiers.to_json()}}}',
    )


def read_header_facts(facts_json: str) -> tuple[HeaderFacts, PatientIdentifiers]:
    """Take apart the ``facts_json`` of a record header."""
    parts = json.loads(facts_json)
    return (
        HeaderFacts.from_json(json.dumps(parts.get("facts", {}))),
        PatientIdentifiers.from_json(json.dumps(parts.get("identifiers", {}))),
    )


def _look_into(
    incoming: IncomingObject,
) -> tuple[tuple[InstanceUids, HeaderFacts, PatientIdentifiers], Iterable[memoryview]]:
    """Return what the headers say, and the data set in pieces."""
    dataset, syntax, rest = incoming.dataset, incoming.transfer_syntax_uid, incoming.rest
    if rest is None:
        known = read_facts(dataset, syntax)
        return known, [dataset[at : at + CHUNK_BYTES] for at in range(0, len(dataset), CHUNK_BYTES)]
    seen = read_beginning(dataset, syntax)
    if seen is not None:
        return seen, chain((dataset,), rest)
    spool = bytearray(dataset)
    for piece in rest:
        spool += piece
        if len(spool) >= SPOOL_BYTES:
            break
    return read_facts(spool, syntax), chain((memoryview(spool),), rest)
