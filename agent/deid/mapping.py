"""The way back from pseudonyms, as rows.

Job: compute which rows the store must keep before an object leaves: whom a pseudonym stands for, and what each new
UID was. Place: called by the engine process with the study's rows; pure, calls ``pseudonyms`` only. The store seals
what identifies. It must never be called after the upload: a result that cannot be traced back cannot be delivered.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from agent.deid.pseudonyms import PseudonymKeys, new_uid, patient_pseudonym

UidKind = Literal["study", "series", "instance"]


@dataclass(frozen=True, slots=True)
class PseudonymMapping:
    """Whom a pseudonym stands for.

    Parameters
    ----------
    pseudonym : str
        The Patient ID that leaves.
    key_version : int
        Version of the pseudonym key it was made with.
    patient_id : str
        For the blind index; empty when the patient came without an ID.
    identifiers_json : bytes
        Everything known of the patient, to be sealed by the store.
    """

    pseudonym: str
    key_version: int
    patient_id: str = field(repr=False)
    identifiers_json: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class UidMapping:
    """A UID that leaves and the one it replaced."""

    new_uid: str
    kind: UidKind
    old_uid: str = field(repr=False)


def pseudonym_mapping(
    keys: PseudonymKeys, patient_id: str, issuer: str, study_uid: str, identifiers_json: bytes
) -> PseudonymMapping:
    """Return the row for a study's patient."""
    pseudonym = patient_pseudonym(keys, patient_id, issuer, study_uid)
    return PseudonymMapping(pseudonym, keys.version, patient_id, identifiers_json)


def uid_mappings(
    keys: PseudonymKeys, study_uid: str, series_uids: Iterable[str], sop_uids: Iterable[str]
) -> tuple[UidMapping, ...]:
    """Return the rows for the UIDs of a study, its series and its instances; each once."""
    kinds: list[tuple[UidKind, Iterable[str]]] = [
        ("study", (study_uid,)),
        ("series", series_uids),
        ("instance", sop_uids),
    ]
    rows = {uid: UidMapping(new_uid(keys, uid), kind, uid) for kind, uids in kinds for uid in uids}
    return tuple(rows.values())
