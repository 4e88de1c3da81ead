"""The ledger of an upload: which object of an order was sent, and which parts of it.

Job: let an upload go on where it was cut off, and prove what was sent. Place: planned, filled and read by the
uploader inside operations of the writer. It must never forget a part that the server acknowledged.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from agent.store.database import change, change_many, query


@dataclass(frozen=True, slots=True)
class PlannedObject:
    """An object that an order is to contain."""

    number: int
    instance_id: int
    key: str


@dataclass(frozen=True, slots=True)
class LedgerPart:
    """A part of a multipart object that the server has."""

    number: int
    size_bytes: int
    sha256: str
    etag: str


@dataclass(frozen=True, slots=True)
class LedgerObject:
    """How far one object got: `planned`, `sent` or `excluded`."""

    number: int
    instance_id: int
    key: str
    size_bytes: int | None
    sha256: str | None
    etag: str | None
    multipart_id: str | None
    state: str
    excluded_because: str | None
    parts: tuple[LedgerPart, ...] = ()


def plan_objects(job_id: str, objects: Iterable[PlannedObject]) -> None:
    """Note the objects of an order; those that are noted already keep what is known of them."""
    change_many(
        "INSERT INTO upload_object (job_id, number, instance_id, key, state) VALUES (?,?,?,?,'planned') "
        "ON CONFLICT (job_id, number) DO NOTHING",
        [(job_id, o.number, o.instance_id, o.key) for o in objects],
    )


def start_multipart(job_id: str, number: int, multipart_id: str | None) -> None:
    """Note the server's id of a multipart upload and forget the parts of an earlier one; None when it was given up."""
    change(
        "DELETE FROM upload_part WHERE object_id = (SELECT id FROM upload_object WHERE job_id = ? AND number = ?)",
        (job_id, number),
    )
    change("UPDATE upload_object SET multipart_id = ? WHERE job_id = ? AND number = ?", (multipart_id, job_id, number))


def record_part(job_id: str, number: int, part: LedgerPart) -> None:
    """Note a part that the server acknowledged."""
    change(
        "INSERT INTO upload_part (object_id, number, size_bytes, sha256, etag) "
        "SELECT id, ?, ?, ?, ? FROM upload_object WHERE job_id = ? AND number = ? "
        "ON CONFLICT (object_id, number) DO UPDATE SET size_bytes = excluded.size_bytes, sha256 = excluded.sha256, "
        "etag = excluded.etag",
        (part.number, part.size_bytes, part.sha256, part.etag, job_id, number),
    )


def mark_sent(job_id: str, number: int, *, size_bytes: int, sha256: str, etag: str) -> None:
    """Note that an object is there; its parts need no longer be known."""
    change(
        "UPDATE upload_object SET state = 'sent', size_bytes = ?, sha256 = ?, etag = ?, multipart_id = NULL "
        "WHERE job_id = ? AND number = ?",
        (size_bytes, sha256, etag, job_id, number),
    )
    change(
        "DELETE FROM upload_part WHERE object_id = (SELECT id FROM upload_object WHERE job_id = ? AND number = ?)",
        (job_id, number),
    )


def mark_excluded(job_id: str, number: int, because: str) -> None:
    """Note that an object is left out of the order, and why (free of patient data)."""
    change(
        "UPDATE upload_object SET state = 'excluded', excluded_because = ? WHERE job_id = ? AND number = ?",
        (because, job_id, number),
    )


def read_ledger(job_id: str) -> list[LedgerObject]:
    """Return the objects of an order by number, with their parts."""
    parts: dict[int, list[LedgerPart]] = {}
    for number, *values in query(
        "SELECT o.number, p.number, p.size_bytes, p.sha256, p.etag FROM upload_part p "
        "JOIN upload_object o ON o.id = p.object_id WHERE o.job_id = ? ORDER BY o.number, p.number",
        (job_id,),
    ):
        parts.setdefault(number, []).append(LedgerPart(*values))
    rows = query(
        "SELECT number, instance_id, key, size_bytes, sha256, etag, multipart_id, state, excluded_because "
        "FROM upload_object WHERE job_id = ? ORDER BY number",
        (job_id,),
    )
    return [LedgerObject(*(*row, tuple(parts.get(row[0], ())))) for row in rows]
