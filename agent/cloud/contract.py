"""What the agent asks of a cloud.

Job: the small interface between the upload of an order and whichever cloud takes it, and the values that cross it.
Place: implemented by ``s3``, used by ``upload`` and by the actors. It must never name a vendor's type, and nothing in
it carries patient data: orders are random, objects are numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a multipart object that the cloud has confirmed."""

    number: int
    size_bytes: int
    sha256: str
    etag: str


class PartLedger(Protocol):
    """Where the parts of one object are kept, so that a resumed upload sends only what is missing.

    A cloud need not be able to list the checksums of parts, so this ledger is what a resume trusts.
    """

    def upload_id(self) -> str | None:
        """Return the multipart upload that was begun, if one was."""
        ...

    def parts(self) -> Sequence[Part]:
        """Return the parts confirmed for that upload."""
        ...

    def begin(self, upload_id: str) -> None:
        """Keep a new multipart upload; parts of an earlier one are forgotten."""
        ...

    def record(self, part: Part) -> None:
        """Keep a confirmed part."""
        ...


class MemoryParts:
    """A part ledger that lives as long as its object."""

    def __init__(self) -> None:
        self._upload_id: str | None = None
        self._parts: dict[int, Part] = {}

    def upload_id(self) -> str | None:
        """Return the multipart upload that was begun, if one was."""
        return self._upload_id

    def parts(self) -> Sequence[Part]:
        """Return the parts confirmed for that upload."""
        return [self._parts[number] for number in sorted(self._parts)]

    def begin(self, upload_id: str) -> None:
        """Keep a new multipart upload; parts of an earlier one are forgotten."""
        self._upload_id = upload_id
        self._parts.clear()

    def record(self, part: Part) -> None:
        """Keep a confirmed part."""
        self._parts[part.number] = part


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as the cloud describes it; `sha256` is empty where it was not asked for."""

    key: str
    size_bytes: int
    etag: str
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class PutResult:
    """Outcome of sending one object.

    Parameters
    ----------
    etag : str
        The cloud's mark of this content.
    sent_bytes : int
        What went over the wire; 0 when the object was there already.
    was_there : bool
        The object was there already, with the same SHA-256.
    """

    etag: str
    sent_bytes: int
    was_there: bool = False


class OrderPhase(StrEnum):
    """Where the analysis of an order stands, as the published contract spells it."""

    ACCEPTED = "accepted"
    PROCESSING = "processing"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ResultEntry:
    """One result file as the analysis announces it."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class OrderStatus:
    """What the analysis says about an order."""

    phase: OrderPhase
    progress: int
    message: str
    results: tuple[ResultEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class ResultFile:
    """A verified file of a result."""

    name: str
    media_type: str
    data: bytes
    sha256: str


@dataclass(frozen=True, slots=True)
class FailureReport:
    """Why the analysis failed, in plain text of bounded length."""

    category: str
    description: str
    remediation: str


class Cloud(Protocol):
    """One analysis cloud.

    Every method raises :class:`~agent.errors.Transient` for what waiting may cure and
    :class:`~agent.errors.Permanent` for what it will not.
    """

    def check(self) -> None:
        """Make sure that the cloud can be reached and used."""
        ...

    def put_object(self, key: str, data: bytes, sha256: str, ledger: PartLedger | None = None) -> PutResult:
        """Send one object unless it is there with the same SHA-256."""
        ...

    def head(self, key: str) -> StoredObject | None:
        """Describe one object; None when it is not there."""
        ...

    def list_objects(self, prefix: str) -> Mapping[str, StoredObject]:
        """Describe all objects under `prefix`, by key."""
        ...

    def abandon(self, key: str, ledger: PartLedger) -> None:
        """Give up a multipart upload that was begun, so that nothing of it is kept."""
        ...

    def put_manifest(self, order: str, data: bytes) -> None:
        """Commit an order."""
        ...

    def put_cancel(self, order: str, reason: str) -> None:
        """Declare an order void."""
        ...

    def read_status(self, order: str) -> OrderStatus | None:
        """Return what the analysis says; None when it has said nothing yet."""
        ...

    def fetch_results(self, order: str) -> list[ResultFile]:
        """Return the verified files of a result."""
        ...

    def read_failure(self, order: str) -> FailureReport:
        """Return why an order failed."""
        ...
