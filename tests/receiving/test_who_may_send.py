"""Who is let in, the reason of each rejection, and the sentence that tells staff what to change."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from agent.config import DicomSettings, PeerSettings
from agent.dicom.admission import plain_address, refuse_address, refuse_request
from agent.dicom.associations import Refusal
from agent.dicom.raw_association import Rejected
from agent.dicom.scu import EchoRequest, echo
from agent.dicom.upper_layer import MalformedPdu, read_association_request
from tests.receiving.books import Books, receiving
from tests.receiving.wire import associate, connect, read_all, request


def _asks(calling: str = "PACS1", called: str = "NEUROPACS_AGENT"):
    return read_association_request(request(called=called, calling=calling)[6:])


PEER = {"name": "Main", "calling_aet": "PACS1", "address": "10.0.0.5"}


@pytest.mark.parametrize(
    ("settings", "calling", "called", "address", "code"),
    [
        ({}, "ANY", "WHATEVER", "10.0.0.9", None),
        ({"require_called_aet": True}, "ANY", "WHATEVER", "10.0.0.9", (1, 1, 7)),
        ({"require_called_aet": True}, "ANY", "NEUROPACS_AGENT", "10.0.0.9", None),
        ({"accept": "listed"}, "PACS1", "X", "10.0.0.5", (1, 1, 3)),
        ({"accept": "listed", "peer": [PEER]}, "PACS1", "X", "10.0.0.5", None),
        ({"accept": "listed", "peer": [PEER]}, "PACS1", "X", "::ffff:10.0.0.5", None),
        ({"accept": "listed", "peer": [PEER]}, "PACS1", "X", "10.0.0.6", (1, 1, 3)),
        ({"accept": "listed", "peer": [PEER]}, "PACS2", "X", "10.0.0.5", (1, 1, 3)),
        ({"accept": "listed", "peer": [{**PEER, "address": ""}]}, "PACS1", "X", "10.9.9.9", None),
    ],
)
def test_admission(settings: dict, calling: str, called: str, address: str, code: tuple | None) -> None:
    refusal = refuse_request(DicomSettings(**settings), _asks(calling, called), address)
    assert (refusal and (refusal.result, refusal.source, refusal.diagnostic)) == code


def test_the_sentence_names_both_titles() -> None:
    refusal = refuse_request(DicomSettings(require_called_aet=True), _asks("PACS1", "AGENT"), "10.0.0.5")
    assert refusal is not None
    assert refusal.sentence.startswith("PACS1 called us AGENT; we are NEUROPACS_AGENT.")


def test_an_unknown_address_is_not_listened_to_when_every_peer_has_one() -> None:
    listed = DicomSettings(accept="listed", peer=[PeerSettings(**PEER)])
    assert refuse_address(listed, "10.0.0.6") is not None
    assert refuse_address(listed, "10.0.0.5") is None
    assert refuse_address(DicomSettings(), "10.0.0.6") is None
    open_peer = PeerSettings(name="a", calling_aet="A")
    assert refuse_address(DicomSettings(accept="listed", peer=[open_peer]), "10.0.0.6") is None


def test_addresses_are_compared_in_their_shortest_form() -> None:
    assert plain_address("::ffff:127.0.0.1") == "127.0.0.1"
    assert plain_address("0:0:0:0:0:0:0:1") == "::1"
    assert plain_address("fe80::1%eth0") == "fe80::1"


def test_another_application_context_or_protocol_version_is_rejected() -> None:
    raw = bytearray(request())
    raw[6:8] = b"\0\0"
    refusal = refuse_request(DicomSettings(), read_association_request(raw[6:]), "10.0.0.1")
    assert refusal and (refusal.result, refusal.source, refusal.diagnostic) == (1, 2, 2)
    raw = bytes(request()).replace(b"1.2.840.10008.3.1.1.1", b"1.2.840.10008.3.1.1.9")
    refusal = refuse_request(DicomSettings(), read_association_request(raw[6:]), "10.0.0.1")
    assert refusal and (refusal.result, refusal.source, refusal.diagnostic) == (1, 1, 2)


@pytest.mark.parametrize("cut", [0, 10, 67, 70, 90, 150])
def test_a_request_that_is_cut_short_is_malformed(cut: int) -> None:
    with pytest.raises(MalformedPdu):
        read_association_request(request()[6 : 6 + cut])


def test_rejections_reach_the_peer_and_the_books(tmp_path: Path) -> None:
    with receiving(
        tmp_path, require_called_aet=True, accept="listed", peer=[{**PEER, "address": "127.0.0.1"}]
    ) as stand:
        with pytest.raises(Rejected) as wrong:
            associate(stand.port, "PACS1", "AGENT")
        assert (wrong.value.result, wrong.value.source, wrong.value.reason) == (1, 1, 7)
        with pytest.raises(Rejected) as unknown:
            associate(stand.port, "PACS2")
        assert unknown.value.reason == 3
        with associate(stand.port, "PACS1") as known:
            assert known.echo(1) == 0
            known.release()
        stand.books.wait(lambda: len(stand.books.refused) == 2)
        assert {r.calling_aet for r in stand.books.refused} == {"PACS1", "PACS2"}
        assert {r.diagnostic for r in stand.books.refused} == {3, 7}


def test_an_unknown_address_is_closed_and_told_to_staff(tmp_path: Path) -> None:
    with receiving(tmp_path, accept="listed", peer=[PEER]) as stand:
        with connect(stand.port) as client:
            assert read_all(client) == b""
        stand.books.wait(lambda: len(stand.books.refused) == 1)
        assert "not the address of any known peer" in stand.books.refused[0].reason


def test_back_pressure_rejects_for_now(tmp_path: Path) -> None:
    books = Books()
    with receiving(tmp_path, books) as stand:
        books.refusal = Refusal("The disk is nearly full.")
        with pytest.raises(Rejected) as full:
            associate(stand.port)
        assert (full.value.result, full.value.source, full.value.reason) == (2, 3, 2)
        books.wait(lambda: len(books.refused) == 1)
        assert books.refused[0].reason == "The disk is nearly full."
        books.refusal = None
        with associate(stand.port) as again:
            assert again.echo(1) == 0


def test_more_associations_than_allowed_are_rejected_for_now(tmp_path: Path) -> None:
    with receiving(tmp_path, max_associations=2, max_associations_per_address=2) as stand:
        with associate(stand.port, "ONE") as one, associate(stand.port, "TWO"):
            with pytest.raises(Rejected) as third:
                associate(stand.port, "THREE")
            assert (third.value.result, third.value.source, third.value.reason) == (2, 3, 2)
            one.release()
            stand.books.wait(lambda: len(stand.books.closed) == 1)
            for _ in range(100):
                result = echo(EchoRequest("127.0.0.1", stand.port, "NEUROPACS_AGENT", "THREE"))
                if result.ok:
                    return
            pytest.fail(result.diagnosis)


def test_ipv6_and_ipv4_reach_a_dual_listener(tmp_path: Path) -> None:
    with receiving(tmp_path, host="::") as stand:
        assert echo(EchoRequest("127.0.0.1", stand.port, "NEUROPACS_AGENT")).ok
        assert echo(EchoRequest("::1", stand.port, "NEUROPACS_AGENT")).ok
        stand.books.wait(lambda: len(stand.books.closed) == 2)
        assert {a.address for a in stand.books.opened} == {"127.0.0.1", "::1"}
