"""Which presentation contexts are accepted, and with which transfer syntax."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom._uid_dict import UID_dictionary
from pynetdicom import sop_class as _registers_newer_uids  # noqa: F401

from agent.dicom.contexts import (
    EXPLICIT_LE,
    IMPLICIT_LE,
    TRANSFER_SYNTAXES,
    VERIFICATION,
    ProposedContext,
    is_storage,
    negotiate,
)

MR = "1.2.840.10008.5.1.4.1.1.4"
JPEG2000 = "1.2.840.10008.1.2.4.90"
NOT_STORABLE = {
    "1.2.840.10008.1.2.6.1", "1.2.840.10008.1.2.6.2",
    "1.2.840.10008.1.2.7.1", "1.2.840.10008.1.2.7.2", "1.2.840.10008.1.2.7.3",
}  # fmt: skip


def test_every_transfer_syntax_of_the_standard_is_stored_or_known_not_to_be() -> None:
    standard = {uid for uid, entry in UID_dictionary.items() if entry[1] == "Transfer Syntax"}
    assert standard == set(TRANSFER_SYNTAXES) | NOT_STORABLE
    assert len(set(TRANSFER_SYNTAXES)) == len(TRANSFER_SYNTAXES)


def test_explicit_vr_is_preferred_whatever_the_sender_names_first() -> None:
    [answer] = negotiate([ProposedContext(1, MR, (IMPLICIT_LE, JPEG2000, EXPLICIT_LE))])
    assert (answer.transfer_syntax, answer.result) == (EXPLICIT_LE, 0)


@pytest.mark.parametrize("syntax", TRANSFER_SYNTAXES)
def test_each_transfer_syntax_alone_is_accepted(syntax: str) -> None:
    [answer] = negotiate([ProposedContext(1, MR, (syntax,))])
    assert (answer.transfer_syntax, answer.result) == (syntax, 0)


@pytest.mark.parametrize("syntax", [*sorted(NOT_STORABLE), "1.2.840.113619.5.2", ""])
def test_an_unknown_transfer_syntax_gets_result_4(syntax: str) -> None:
    assert negotiate([ProposedContext(1, MR, (syntax,))])[0].result == 4
    assert negotiate([ProposedContext(1, MR, (syntax, JPEG2000))])[0].transfer_syntax == JPEG2000


@pytest.mark.parametrize(
    "uid",
    [MR, "1.2.840.10008.5.1.1.27", "1.2.840.10008.5.1.4.1.1.5", "1.2.840.10008.5.1.4.34.7", "1.3.12.2.1107.5.9.1",
     "1.2.840.10008.5.1.4.1.1.999.9", "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.113619.4.26"],
)  # fmt: skip
def test_standard_retired_private_and_unknown_storage_classes_are_accepted(uid: str) -> None:
    assert is_storage(uid)
    assert negotiate([ProposedContext(1, uid, (EXPLICIT_LE,))])[0].result == 0


@pytest.mark.parametrize(
    "uid",
    ["1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.1.20.1", "1.2.840.10008.5.1.1.9", "1.2.840.10008.5.1.4.31",
     "1.2.840.10008.1.3.10", "1.2.840.10008.5.1.4.38.1", "1.2.840.10008.4.2", "1.2.840.10008.5.1.4.1.1.201.2", ""],
)  # fmt: skip
def test_other_services_are_refused_with_result_3(uid: str) -> None:
    assert negotiate([ProposedContext(1, uid, (EXPLICIT_LE,))])[0].result == 3


def test_verification_is_accepted() -> None:
    assert negotiate([ProposedContext(5, VERIFICATION, (IMPLICIT_LE,))])[0].result == 0


@given(st.lists(st.sampled_from([*TRANSFER_SYNTAXES, *NOT_STORABLE, "1.9"]), min_size=1, max_size=8))
def test_the_answer_is_always_one_of_those_proposed(syntaxes: list[str]) -> None:
    [answer] = negotiate([ProposedContext(1, MR, tuple(syntaxes))])
    assert answer.transfer_syntax in syntaxes
    assert (answer.result == 0) == any(s in TRANSFER_SYNTAXES for s in syntaxes)
