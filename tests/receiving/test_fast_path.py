"""What the path that stores objects while they come does beyond what every path does."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from agent.dicom.contexts import EXPLICIT_LE
from agent.dicom.facts import read_beginning, read_facts
from agent.dicom.raw_association import RawAssociation
from tests.receiving.books import Stand, receiving
from tests.receiving.wire import MR, associate, p_data, read_all

MB = 1 << 20
SOP = "1.2.826.0.1.3680043.10.9999.1"
COMMAND_AND_DATA = 3


def _element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    if vr in (b"OB", b"OW", b"UN"):
        return struct.pack("<HH2sxxI", group, number, vr, len(value)) + value
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


def _dataset(pixels: int, *, before_uids: int = 0, sop: str = SOP) -> bytes:
    """A data set with `pixels` bytes of pixel data, and as many of a private element between SOP and study UID."""
    return b"".join(
        (
            _element(0x0008, 0x0016, b"UI", MR.encode()),
            _element(0x0008, 0x0018, b"UI", sop.encode()),
            _element(0x0009, 0x0010, b"LO", b"TEST "),
            _element(0x0009, 0x1001, b"OB", bytes(before_uids)),
            _element(0x0020, 0x000D, b"UI", b"1.2.3"),
            _element(0x0020, 0x000E, b"UI", b"1.2.3.4"),
            _element(0x7FE0, 0x0010, b"OW", bytes(range(256)) * (pixels // 256)),
        )
    )


def _stored(stand: Stand, count: int) -> list[str]:
    stand.books.wait(lambda: len(stand.books.records) == count)
    assert all(hashlib.sha256(stand.stored(r)).hexdigest() == r.sha256 for r in stand.books.records)
    return [r.sha256 for r in stand.books.records]


@pytest.mark.parametrize("pixels", [256, MB - 4096, MB, 3 * MB, 4 * MB, 9 * MB + 512])
def test_objects_of_every_size_are_stored_byte_for_byte(tmp_path: Path, pixels: int) -> None:
    dataset = _dataset(pixels)
    with receiving(tmp_path) as stand, associate(stand.port) as association:
        assert association.store(COMMAND_AND_DATA, MR, SOP, memoryview(dataset)) == (0, "")
        association.release()
        assert _stored(stand, 1) == [hashlib.sha256(dataset).hexdigest()]
        assert stand.books.records[0].header.study_uid == "1.2.3"
        stand.books.wait(lambda: len(stand.books.closed) == 1)
        assert stand.books.closed[0].bytes == len(dataset)


def test_a_data_set_that_ends_with_its_chunk_is_whole(tmp_path: Path) -> None:
    filling = MB - len(_dataset(0))
    dataset = _dataset(0, before_uids=filling)
    assert len(dataset) == MB
    with receiving(tmp_path) as stand, associate(stand.port) as association:
        client = association._socket
        client.sendall(p_data(3, 3, association._command(1, MR, SOP)))
        for at in range(0, MB, 65_536):
            client.sendall(p_data(3, 0, dataset[at : at + 65_536]))
        client.sendall(p_data(3, 2, b""))
        assert association._response() == (0, "")
        assert _stored(stand, 1) == [hashlib.sha256(dataset).hexdigest()]


def test_uids_behind_the_first_megabyte_are_found(tmp_path: Path) -> None:
    dataset = _dataset(2 * MB, before_uids=2 * MB)
    with receiving(tmp_path) as stand, associate(stand.port) as association:
        assert association.store(COMMAND_AND_DATA, MR, SOP, memoryview(dataset)) == (0, "")
        assert _stored(stand, 1) == [hashlib.sha256(dataset).hexdigest()]
        assert stand.books.records[0].header.study_uid == "1.2.3"


def test_the_beginning_of_a_data_set_is_enough_when_it_reaches_the_pixels() -> None:
    dataset = _dataset(2 * MB)
    assert read_beginning(memoryview(dataset)[:MB], EXPLICIT_LE) == read_facts(dataset, EXPLICIT_LE)
    assert read_beginning(memoryview(_dataset(0, before_uids=2 * MB))[:MB], EXPLICIT_LE) is None


def test_a_large_object_that_is_refused_is_heard_out_and_the_next_is_stored(tmp_path: Path) -> None:
    dataset = _dataset(3 * MB)
    with receiving(tmp_path) as stand, associate(stand.port) as association:
        assert association.store(COMMAND_AND_DATA, MR, "1.2.9", memoryview(dataset))[0] == 0xA900
        assert association.store(COMMAND_AND_DATA, MR, SOP, memoryview(dataset)) == (0, "")
        assert _stored(stand, 1) == [hashlib.sha256(dataset).hexdigest()]


def _break_off(association: RawAssociation, dataset: bytes, count: int) -> None:
    client = association._socket
    client.sendall(p_data(3, 3, association._command(1, MR, SOP)))
    for at in range(0, count, 65_536):
        client.sendall(p_data(3, 0, dataset[at : at + 65_536]))


@pytest.mark.parametrize("count", [MB // 2, 2 * MB, 6 * MB])
def test_an_object_that_breaks_off_leaves_nothing_behind(tmp_path: Path, count: int) -> None:
    dataset = _dataset(9 * MB)
    with receiving(tmp_path) as stand:
        with associate(stand.port) as association:
            _break_off(association, dataset, count)
        stand.books.wait(lambda: len(stand.books.closed) == 1)
        assert stand.books.closed[0].outcome == "aborted"
        assert stand.books.closed[0].objects == 0
        with associate(stand.port) as association:
            assert association.store(COMMAND_AND_DATA, MR, SOP, memoryview(dataset)) == (0, "")
        _stored(stand, 1)


def test_an_abort_in_the_middle_of_an_object_is_named(tmp_path: Path) -> None:
    with receiving(tmp_path) as stand, associate(stand.port) as association:
        _break_off(association, _dataset(9 * MB), 6 * MB)
        association._socket.sendall(struct.pack(">BBII", 7, 0, 4, 0))
        stand.books.wait(lambda: len(stand.books.closed) == 1)
        assert stand.books.closed[0].reason == "The peer aborted the association."


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[Stand]:
    with receiving(tmp_path) as stand:
        yield stand


def test_stopping_does_not_wait_for_an_object_that_does_not_come(stopped: Stand) -> None:
    with associate(stopped.port) as association:
        _break_off(association, _dataset(9 * MB), 6 * MB)
        stopped.books.wait(lambda: len(stopped.books.opened) == 1)
        stopped.pool.stop(5.0)
        assert read_all(association._socket)[:1] == b"\x07"


def test_memory_does_not_grow_with_the_object(tmp_path: Path, receive_path: str) -> None:
    if receive_path == "stock":
        pytest.skip("pynetdicom holds objects whole")
    dataset = _dataset(96 * MB)
    with receiving(tmp_path) as stand, associate(stand.port) as association:
        process = psutil.Process(stand.pool.pids()[0])
        assert association.store(COMMAND_AND_DATA, MR, SOP, memoryview(_dataset(5 * MB))) == (0, "")
        before = process.memory_info().rss
        assert association.store(COMMAND_AND_DATA, MR, SOP, memoryview(dataset)) == (0, "")
        assert process.memory_info().rss - before < 16 * MB


@pytest.mark.parametrize("pdu", [struct.pack(">BBI", 4, 0, 3) + b"abc", struct.pack(">BBIIBB", 4, 0, 6, 1, 3, 3)])
def test_a_fragment_that_cannot_be_is_aborted(tmp_path: Path, pdu: bytes) -> None:
    with receiving(tmp_path) as stand, associate(stand.port) as association:
        association._socket.sendall(pdu + bytes(100))
        assert read_all(association._socket)[:1] == b"\x07"


def test_a_command_in_many_fragments_and_pdus_is_put_together(tmp_path: Path) -> None:
    dataset = _dataset(4096)
    with receiving(tmp_path) as stand, associate(stand.port) as association:
        command = association._command(1, MR, SOP)
        client = association._socket
        client.sendall(b"".join(p_data(3, 1, command[at : at + 7]) for at in range(0, len(command), 7)))
        both = struct.pack(">IBB", 2, 3, 3) + struct.pack(">IBB", len(dataset) + 2, 3, 2) + dataset
        client.sendall(struct.pack(">BBI", 4, 0, len(both)) + both)
        assert association._response() == (0, "")
        assert _stored(stand, 1) == [hashlib.sha256(dataset).hexdigest()]
