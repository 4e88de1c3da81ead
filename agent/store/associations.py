"""Associations: opened, closed, refused.

Job: keep who connected and what came of it. Place: written inside operations of the writer from the events of the
receivers; read by the Connections page and the completeness judges. One audit row tells of each association, and one
of each study it brought, with count and digest of the SOP Instance UIDs; a row must never name an instance.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from agent.store import audit
from agent.store.database import change, query


@dataclass(frozen=True, slots=True)
class AssociationRow:
    """An association as its row says; `outcome` is open, released, aborted, refused or lost."""

    id: str
    calling_aet: str
    called_aet: str
    address: str
    opened_at: float
    closed_at: float | None
    outcome: str
    reason: str
    contexts_json: str
    objects: int
    refused_objects: int
    bytes: int
    last_traffic_at: float


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end."""

    calling_aet: str
    called_aet: str
    address: str


@dataclass(frozen=True, slots=True)
class Traffic:
    """What an association has brought so far."""

    objects: int = 0
    refused_objects: int = 0
    bytes: int = 0


_COLUMNS = ", ".join(AssociationRow.__slots__)


def opened(association_id: str, peer: Peer, at: float, contexts_json: str = "[]") -> None:
    """Note an association that was accepted."""
    change(
        f"INSERT INTO association ({_COLUMNS}) VALUES (?,?,?,?,?,NULL,'open','',?,0,0,0,?) ON CONFLICT "  # noqa: S608
        "(id) DO NOTHING",
        (association_id, peer.calling_aet, peer.called_aet, peer.address, at, contexts_json, at),
    )
    _audit("association_accepted", association_id, peer, at, {})


def refused(association_id: str, peer: Peer, reason: str, at: float) -> None:
    """Note an association that was refused, and why in words."""
    change(
        f"INSERT INTO association ({_COLUMNS}) VALUES (?,?,?,?,?,?,'refused',?,'[]',0,0,0,?) ON CONFLICT "  # noqa: S608
        "(id) DO NOTHING",
        (association_id, peer.calling_aet, peer.called_aet, peer.address, at, at, reason, at),
    )
    _audit("association_refused", association_id, peer, at, {"reason": reason}, outcome="refused")


def traffic(association_id: str, seen: Traffic, at: float) -> None:
    """Note what an open association has brought so far."""
    change(
        "UPDATE association SET objects = ?, refused_objects = ?, bytes = ?, last_traffic_at = ? WHERE "
        "id = ? AND outcome = 'open'",
        (seen.objects, seen.refused_objects, seen.bytes, at, association_id),
    )


def closed(association_id: str, outcome: str, seen: Traffic, at: float, reason: str = "") -> None:
    """Note the end of an association: `released`, `aborted` or `lost`; after its arrivals were indexed."""
    moved = change(
        "UPDATE association SET closed_at = ?, outcome = ?, reason = ?, objects = ?, refused_objects = ?, bytes = ? "
        "WHERE id = ? AND outcome = 'open'",
        (at, outcome, reason, seen.objects, seen.refused_objects, seen.bytes, association_id),
    )
    if not moved:
        return
    row = query("SELECT calling_aet, called_aet, address FROM association WHERE id = ?", (association_id,))[0]
    peer = Peer(*row)
    for study_id, count, digest in _stored_by(association_id):
        _audit(
            "objects_stored", study_id, peer, at, {"association": association_id, "objects": count, "digest": digest}
        )
    if seen.refused_objects:
        detail: dict[str, object] = {"objects": seen.refused_objects}
        _audit("objects_refused", association_id, peer, at, detail, outcome="refused")


def _stored_by(association_id: str) -> list[tuple[str, int, str]]:
    digests: dict[str, tuple[int, hashlib._Hash]] = {}
    for study_id, sop_uid in query(
        "SELECT study_id, sop_uid FROM instance WHERE association_id = ?1 UNION ALL "
        "SELECT study_id, sop_uid FROM duplicate WHERE association_id = ?1 ORDER BY 1, 2",
        (association_id,),
    ):
        count, digest = digests.get(study_id, (0, hashlib.sha256()))
        digest.update(sop_uid.encode() + b"\n")
        digests[study_id] = (count + 1, digest)
    return [(study_id, count, digest.hexdigest()) for study_id, (count, digest) in digests.items()]


def lose_open(at: float) -> list[str]:
    """Mark every open association as lost, at start; returns their ids."""
    rows = query(
        "UPDATE association SET outcome = 'lost', closed_at = ?, reason = 'the agent was stopped' WHERE "
        "outcome = 'open' "
        "RETURNING id",
        (at,),
    )
    return [association_id for (association_id,) in rows]


def read_open() -> list[AssociationRow]:
    """Return the open associations, the oldest first."""
    rows = query(f"SELECT {_COLUMNS} FROM association WHERE outcome = 'open' ORDER BY opened_at")  # noqa: S608
    return [AssociationRow(*row) for row in rows]


def read_open_of_study(study_id: str) -> list[AssociationRow]:
    """Return the open associations that have brought instances of a study."""
    columns = ", ".join(f"a.{name}" for name in AssociationRow.__slots__)
    rows = query(
        f"SELECT {columns} FROM association a WHERE a.outcome = 'open' AND EXISTS "  # noqa: S608
        "(SELECT 1 FROM instance i WHERE i.association_id = a.id AND i.study_id = ?) ORDER BY a.opened_at",
        (study_id,),
    )
    return [AssociationRow(*row) for row in rows]


def _audit(
    action: str, object_id: str, peer: Peer, at: float, detail: dict[str, object], *, outcome: str = "ok"
) -> None:
    known = {"calling_aet": peer.calling_aet, "called_aet": peer.called_aet, **detail}
    audit.append_in_transaction(audit.Entry("agent", "", peer.address, action, object_id, outcome, known), at)
