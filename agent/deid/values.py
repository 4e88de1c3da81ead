"""What becomes of single values.

Job: turn one encoded value into the one that leaves, by the action of its rule; hold what a patient's values are
replaced with. Place: called by ``engine``. It must never return text that is neither derived by key nor on a list.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, timedelta

from pydicom.charset import convert_encodings, decode_bytes

from agent.deid.numbers import clean_numbers, identifier_digits, is_time, is_time_of_date, repeats_identifier
from agent.deid.pseudonyms import (
    PseudonymKeys,
    date_shift_days,
    identifier_pseudonym,
    new_uid,
    patient_pseudonym,
    standard_uid_type,
)
from agent.deid.rules.compile import DUMMY_VALUES, Action, Rule, Rules

_DATE = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})([0-9.]*(?:[+-]\d{4})?)")
_AGE = re.compile(r"\d{3}[DWMY]")
_AGE_MAX = {"D": 89 * 366, "W": 89 * 53, "M": 90 * 12 - 1, "Y": 89}
# What the Standard registers beside classes, syntaxes and codes.
_FRAMES = frozenset({"Well-known frame of reference", "Synchronization Frame of Reference"})
_INSTANCES = frozenset({"Well-known SOP Instance", "LDAP OID"})
_DELIMITERS = {ord(c) for c in "\\\n\r\t\f^="}  # PS3.5 6.1.2.5.3


def decode_text(value: bytes, charset: bytes) -> str:
    """Return a text value decoded by its Specific Character Set, Latin-1 where that fails."""
    if value.isascii() and b"\x1b" not in value:
        return value.decode("ascii").strip(" \x00")
    names = [name.strip() for name in charset.decode("latin-1").rstrip(" \x00").split("\\")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            text: str = decode_bytes(value, convert_encodings(names), _DELIMITERS)
        except (LookupError, ValueError, UnicodeError):
            text = value.decode("latin-1")
    return text.strip(" \x00")


@dataclass(frozen=True, slots=True)
class PatientContext:
    """What one patient's values are replaced with, and the numbers that may not stay."""

    keys: PseudonymKeys
    pseudonym: str
    shift: timedelta
    withheld: frozenset[str] = frozenset()
    charset: bytes = b""
    digits: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls, keys: PseudonymKeys, patient_id: str, issuer: str, study_uid: str, names: Iterable[str] = ()
    ) -> PatientContext:
        """Derive the replacements for the patient that a data set names; words of `names` may not stay in any text."""
        days = date_shift_days(keys, patient_id, issuer, study_uid) if keys.dates == "shift" else 0
        words = {word.upper() for name in (*names, patient_id) for word in re.split(r"[^A-Za-z0-9]+", name) if word}
        pseudonym = patient_pseudonym(keys, patient_id, issuer, study_uid)
        return cls(keys, pseudonym, timedelta(days=days), frozenset(words))

    def uid(self, uid: str) -> str:
        """Return the new UID."""
        return new_uid(self.keys, uid)

    def knowing(self, charset: bytes, identifiers: Iterable[str]) -> PatientContext:
        """Return the same with the character set and the identifiers that no number may repeat."""
        return replace(self, charset=charset, digits=identifier_digits(identifiers))

    def repeats(self, value: bytes) -> bool:
        """Whether a number or time equals one of the identifiers."""
        return repeats_identifier(value.decode("latin-1"), self.digits)

    def date(self, value: str) -> str | None:
        """Return a DA or DT value moved into the past; None when it holds no full date."""
        match = _DATE.fullmatch(value)
        if match is None:
            return None
        year, month, day, rest = match.groups()
        if not is_time_of_date(rest):
            return None
        try:
            moved = date(int(year), int(month), int(day)) - self.shift
        except (ValueError, OverflowError):
            return None
        return f"{moved:%Y%m%d}".rjust(8, "0") + rest


def new_value(value: bytes, rule: Rule, rules: Rules, patient: PatientContext) -> bytes | None:
    """Return the value that leaves, or None when the element is dropped.

    Parameters
    ----------
    value : bytes
        The value as received.
    rule : Rule
        Action for the attribute.
    rules : Rules
        The compiled profile, for its vocabulary.
    patient : PatientContext
        The patient's replacements.
    """
    match rule.action:
        case Action.NUMBER:
            return clean_numbers(value, rule)
        case Action.TERMS:
            return rules.vocabulary.clean_terms(value)
        case Action.TIME:
            return value if is_time(value.decode("latin-1")) else b""
        case Action.DUMMY:
            return DUMMY_VALUES[rule.vr].encode()
        case Action.PATTERN:
            text = value.decode("latin-1").strip(" \x00")
            return value if not text or rules.vocabulary.matches(rule.keyword, text) else None
        case Action.CLEAN:
            return rules.vocabulary.clean_text(decode_text(value, patient.charset), patient.withheld)[:64].encode()
        case _:
            return _new_text(value.decode("latin-1").strip(" \x00"), rule, rules, patient).encode("ascii")


def _new_text(text: str, rule: Rule, rules: Rules, patient: PatientContext) -> str:
    match rule.action:
        case Action.UID:
            return "\\".join(patient.uid(uid) for uid in text.split("\\"))
        case Action.CLASS_UID | Action.FRAME_UID:
            frame = rule.action is Action.FRAME_UID
            return "\\".join(uid if _may_stay(uid, frame) else patient.uid(uid) for uid in text.split("\\"))
        case Action.DATE:
            return "\\".join(patient.date(part.strip()) or "" for part in text.split("\\"))
        case Action.EQUIPMENT:
            return rules.vocabulary.clean_equipment(text)[:64]
        case Action.PATIENT:
            return patient.pseudonym
        case Action.ACCESSION:
            return identifier_pseudonym(patient.keys, "accession", text)
        case Action.STUDY_ID:
            return identifier_pseudonym(patient.keys, "study", text)
        case Action.AGE:
            return capped_age(text)
        case _:
            return ""


def _may_stay(uid: str, frame: bool) -> bool:
    kind = standard_uid_type(uid)
    return bool(kind) and (kind in _FRAMES) == frame and kind not in _INSTANCES


def capped_age(text: str) -> str:
    """Return an age with everything above 89 years as ``090Y`` (45 CFR 164.514(b)(2)(i)(C)); empty when malformed."""
    if not _AGE.fullmatch(text):
        return ""
    return "090Y" if int(text[:3]) > _AGE_MAX[text[3]] else text
