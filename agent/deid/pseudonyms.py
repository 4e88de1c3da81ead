"""Keyed pseudonyms: new UIDs, patient pseudonyms, accession numbers, date shifts.

Job: derive each replacement from the pseudonym key by HMAC-SHA256, so that files, studies, restarts and processes
agree with no table and no lock. Place: called by ``engine``, ``mapping`` and whoever shows a pseudonym; calls
nothing. It must never use an unkeyed hash: the space of patient IDs is small enough to try out.
"""

from __future__ import annotations

import base64
import hmac
from dataclasses import dataclass, field
from functools import lru_cache

from pydicom.uid import UID_dictionary  # type: ignore[attr-defined]

SHIFT_WEEKS_MAX = 521  # 3647 days: the shift stays within 1..3650 days and keeps the day of the week


@dataclass(frozen=True, slots=True)
class PseudonymKeys:
    """What pseudonyms of one site are made with; picklable.

    Parameters
    ----------
    secret : bytes
        The site's pseudonym key, 32 bytes.
    version : int
        Version of that key; kept beside each mapping row.
    prefix : str
        Shown before patient pseudonyms.
    dates : str
        ``remove``, ``shift`` or ``keep``.
    """

    secret: bytes = field(repr=False)
    version: int = 1
    prefix: str = "ANON"
    dates: str = "shift"


def _digest(secret: bytes, purpose: str, *parts: str) -> bytes:
    message = "\x00".join((purpose, *parts)).encode("utf-8", "surrogateescape")
    return hmac.digest(secret, message, "sha256")


def _letters(digest: bytes, count: int) -> str:
    return base64.b32encode(digest).decode("ascii")[:count]


def patient_key(patient_id: str, issuer: str, study_uid: str = "") -> tuple[str, str]:
    """Return what a patient is recognised by: issuer and ID, or the study when there is no ID.

    Without the last, all patients that came without an ID would become one person.
    """
    patient_id, issuer = patient_id.strip(" \x00"), issuer.strip(" \x00")
    return (issuer, patient_id) if patient_id else ("\x01study", study_uid.strip(" \x00"))


def patient_pseudonym(keys: PseudonymKeys, patient_id: str, issuer: str, study_uid: str = "") -> str:
    """Return the Patient ID that leaves the hospital.

    Parameters
    ----------
    keys : PseudonymKeys
        The site's keys.
    patient_id, issuer : str
        Patient ID and Issuer of Patient ID as decoded text; padding does not count.
    study_uid : str
        Study Instance UID; used only when the Patient ID is empty.

    Returns
    -------
    str
        Prefix and 16 characters of base32 (80 bits).
    """
    return keys.prefix + _letters(_digest(keys.secret, "patient", *patient_key(patient_id, issuer, study_uid)), 16)


def identifier_pseudonym(keys: PseudonymKeys, purpose: str, value: str) -> str:
    """Return the replacement of an accession number or study ID: 16 characters, the limit of VR SH.

    An empty value stays empty.
    """
    value = value.strip(" \x00")
    return _letters(_digest(keys.secret, purpose, value), 16) if value else ""


@lru_cache(maxsize=65_536)
def _new_uid(secret: bytes, uid: str) -> str:
    return f"2.25.{int.from_bytes(_digest(secret, 'uid', uid)[:16], 'big')}"


def new_uid(keys: PseudonymKeys, uid: str) -> str:
    """Return the UID that replaces `uid` (PS3.5 B.2: ``2.25.`` and 128 bits).

    Only the empty UID stays as it is: an instance that carries a UID of the Standard is replaced like any other.
    """
    uid = uid.strip(" \x00")
    return _new_uid(keys.secret, uid) if uid else uid


def standard_uid_type(uid: str) -> str:
    """Return what kind of UID the Standard registers (PS3.6 A) under this one; empty when it registers none."""
    entry = UID_dictionary.get(uid.strip(" \x00"))
    return str(entry[1]) if entry else ""


def date_shift_days(keys: PseudonymKeys, patient_id: str, issuer: str, study_uid: str = "") -> int:
    """Return how many days the patient's dates move into the past: whole weeks, 7 to 3647 days."""
    digest = _digest(keys.secret, "shift", *patient_key(patient_id, issuer, study_uid))
    return 7 * (1 + int.from_bytes(digest[:8], "big") % SHIFT_WEEKS_MAX)
