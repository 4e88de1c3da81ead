"""The way back: from pseudonyms and new UIDs to what they stand for, and what de-identification did.

Job: keep the mapping, every identifying value sealed with the mapping key. Place: written with the upload job inside
operations of the writer; read by re-identification, which is audited. It must never hold an identifier in clear.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from agent.store.database import change, change_many, query
from agent.store.keys import Keyring


@dataclass(frozen=True, slots=True)
class DeidActionRow:
    """How often an action was taken on a data element of a study; no values."""

    tag: str
    keyword: str
    action: str
    count: int


@dataclass(frozen=True, slots=True)
class ReplacedUid:
    """A UID and what it became; `kind` is study, series or instance."""

    new_uid: str
    kind: str
    old_uid: str


def store_pseudonym(keyring: Keyring, pseudonym: str, patient_id: str, identifiers_json: bytes) -> None:
    """Keep whom a pseudonym stands for; one that is known is left as it is."""
    change(
        "INSERT INTO pseudonym (pseudonym, key_version, blind_index, identifiers, created_at) VALUES (?,?,?,?,?) "
        "ON CONFLICT (pseudonym) DO NOTHING",
        (
            pseudonym,
            keyring.pseudonym_version,
            keyring.blind_index(patient_id),
            keyring.seal(identifiers_json, f"pseudonym:{pseudonym}"),
            time.time(),
        ),
    )


def read_pseudonym(keyring: Keyring, pseudonym: str) -> bytes | None:
    """Return the identifiers behind a pseudonym as JSON, None when it is unknown; the caller writes the audit.

    Raises
    ------
    IntegrityError
        When the row was changed.
    """
    rows = query("SELECT identifiers FROM pseudonym WHERE pseudonym = ?", (pseudonym,))
    return keyring.unseal(rows[0][0], f"pseudonym:{pseudonym}") if rows else None


def pseudonyms_of(keyring: Keyring, patient_id: str) -> list[str]:
    """Return the pseudonyms given to a patient ID."""
    rows = query("SELECT pseudonym FROM pseudonym WHERE blind_index = ?", (keyring.blind_index(patient_id),))
    return [pseudonym for (pseudonym,) in rows]


def store_uid_mappings(keyring: Keyring, study_id: str, replaced: Iterable[ReplacedUid]) -> None:
    """Keep which UIDs were replaced; those that are known are left as they are."""
    change_many(
        "INSERT INTO uid_mapping (new_uid, study_id, kind, old_uid) VALUES (?,?,?,?) ON CONFLICT (new_uid) DO NOTHING",
        [(r.new_uid, study_id, r.kind, keyring.seal(r.old_uid.encode(), f"uid:{r.new_uid}")) for r in replaced],
    )


def read_old_uid(keyring: Keyring, new_uid: str) -> str | None:
    """Return what a new UID stands for, None when it is unknown; the caller writes the audit.

    Raises
    ------
    IntegrityError
        When the row was changed.
    """
    rows = query("SELECT old_uid FROM uid_mapping WHERE new_uid = ?", (new_uid,))
    return keyring.unseal(rows[0][0], f"uid:{new_uid}").decode() if rows else None


def store_deid_actions(study_id: str, revision: int, actions: Iterable[DeidActionRow]) -> None:
    """Keep the totals of a revision; they replace earlier ones of the same revision."""
    change("DELETE FROM deid_action WHERE study_id = ? AND revision = ?", (study_id, revision))
    change_many(
        "INSERT INTO deid_action (study_id, revision, tag, keyword, action, count) VALUES (?,?,?,?,?,?)",
        [(study_id, revision, a.tag, a.keyword, a.action, a.count) for a in actions],
    )


def read_deid_actions(study_id: str, revision: int) -> list[DeidActionRow]:
    """Return what was done in a revision, by tag."""
    rows = query(
        "SELECT tag, keyword, action, count FROM deid_action WHERE study_id = ? AND revision = ? ORDER BY tag, action",
        (study_id, revision),
    )
    return [DeidActionRow(*row) for row in rows]
