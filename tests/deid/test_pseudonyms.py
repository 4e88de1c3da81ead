"""Pseudonyms agree over files, studies and processes, and only with the key."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.deid.mapping import pseudonym_mapping, uid_mappings
from agent.deid.pseudonyms import (
    PseudonymKeys,
    date_shift_days,
    identifier_pseudonym,
    new_uid,
    patient_pseudonym,
)

KEYS = PseudonymKeys(b"k" * 32)
uids = st.from_regex(r"1\.(2|3)(\.[1-9][0-9]{0,8}){3,6}", fullmatch=True)


@given(uids)
def test_a_new_uid_is_valid_and_always_the_same(uid: str) -> None:
    new = new_uid(KEYS, uid)
    assert new.startswith("2.25.") and len(new) <= 44 and new[5:].isdigit() and new[5] != "0"
    assert new == new_uid(KEYS, uid + "\x00") == new_uid(PseudonymKeys(b"k" * 32), uid)
    assert new != new_uid(PseudonymKeys(b"j" * 32), uid)


@pytest.mark.parametrize(
    "uid", ["1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.1.2.1", "1.2.840.10008.5.1.4.1.1.4.998877.1"]
)
def test_what_an_instance_is_called_is_replaced_even_under_the_root_of_the_standard(uid: str) -> None:
    assert new_uid(KEYS, uid).startswith("2.25.")
    assert new_uid(KEYS, "") == ""


def test_text_dressed_as_a_uid_of_the_standard_is_replaced() -> None:
    assert new_uid(KEYS, "1.2.840.10008.Ottokarsen").startswith("2.25.")


@given(st.text(max_size=20), st.text(max_size=10))
def test_the_date_shift_is_whole_weeks_within_ten_years(patient_id: str, issuer: str) -> None:
    days = date_shift_days(KEYS, patient_id, issuer, "1.2.3")
    assert 1 <= days <= 3650 and days % 7 == 0


def test_issuer_and_id_make_the_patient() -> None:
    a = patient_pseudonym(KEYS, "123", "HOSPITAL A")
    assert a == patient_pseudonym(KEYS, " 123 ", "HOSPITAL A ")
    assert a != patient_pseudonym(KEYS, "123", "HOSPITAL B")
    assert patient_pseudonym(KEYS, "AB", "C") != patient_pseudonym(KEYS, "A", "BC")
    assert a.startswith("ANON") and len(a) == 20


def test_patients_without_an_id_do_not_become_one_person() -> None:
    assert patient_pseudonym(KEYS, "", "", "1.2.3") != patient_pseudonym(KEYS, "", "", "1.2.4")
    assert patient_pseudonym(KEYS, "7", "", "1.2.3") == patient_pseudonym(KEYS, "7", "", "1.2.4")


def test_accession_and_study_id_fit_their_vr_and_empty_stays_empty() -> None:
    assert len(identifier_pseudonym(KEYS, "accession", "A1")) == 16
    assert identifier_pseudonym(KEYS, "accession", "A1") != identifier_pseudonym(KEYS, "study", "A1")
    assert identifier_pseudonym(KEYS, "accession", "") == ""


def test_another_process_gives_the_same_pseudonyms() -> None:
    code = (
        "from agent.deid.pseudonyms import *; k=PseudonymKeys(b'k'*32);"
        "print(new_uid(k,'1.2.3.4.5'),patient_pseudonym(k,'Mül','I'),date_shift_days(k,'Mül','I'))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert told == [
        new_uid(KEYS, "1.2.3.4.5"),
        patient_pseudonym(KEYS, "Mül", "I"),
        str(date_shift_days(KEYS, "Mül", "I")),
    ]


def test_keys_do_not_show_their_secret() -> None:
    assert "kkkk" not in repr(KEYS)


def test_mapping_rows_lead_back_from_each_new_uid() -> None:
    rows = uid_mappings(KEYS, "1.2.3.1", ["1.2.3.2", "1.2.3.2"], ["1.2.3.3", "1.2.3.4"])
    assert [(r.kind, r.old_uid) for r in rows] == [
        ("study", "1.2.3.1"), ("series", "1.2.3.2"), ("instance", "1.2.3.3"), ("instance", "1.2.3.4"),
    ]  # fmt: skip
    assert all(r.new_uid == new_uid(KEYS, r.old_uid) for r in rows)
    assert "1.2.3.4" not in repr(rows)


def test_the_patient_row_carries_version_and_identifiers_without_showing_them() -> None:
    row = pseudonym_mapping(PseudonymKeys(b"k" * 32, 3), "77123409", "", "1.2.3", b'{"patient_id": "77123409"}')
    assert row.pseudonym == patient_pseudonym(KEYS, "77123409", "") and row.key_version == 3
    assert "77123409" not in repr(row)
