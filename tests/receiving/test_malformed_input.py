"""Malformed and random bytes: answered with a status that makes sense, or cut off; never a dead process."""

from __future__ import annotations

import os
import random
import struct
from pathlib import Path

import pytest

from agent.dicom.contexts import DEFLATED_LE, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from agent.dicom.facts import read_facts
from agent.dicom.raw_association import AssociationFailed, Peer, RawAssociation, read_part10
from agent.dicom.contexts import ProposedContext
from agent.errors import BadDataset
from tests.dicom_files import as_part10, make_image
from tests.receiving.books import receiving
from tests.receiving.wire import MR, associate, connect, p_data, read_all, request

ROUNDS = int(os.environ.get("AGENT_TEST_MUTATIONS", "150"))
ALLOWED = {0x0000, 0xA900, 0xC000, 0x0122}


def _mutate(rng: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        kind, at = rng.randrange(4), rng.randrange(max(1, len(out)))
        if kind == 0:
            out[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            del out[at : at + rng.randint(1, 40)]
        elif kind == 2:
            out[at:at] = rng.randbytes(rng.randint(1, 40))
        else:
            out[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xfe\xff\x00\xe0", b"\xf0\xff\xff\xff"))
    return bytes(out)


def _dataset(tmp_path: Path) -> tuple[str, bytes]:
    path = tmp_path / "a.dcm"
    path.write_bytes(as_part10(make_image()))
    file = read_part10(path)
    return file.sop_uid, path.read_bytes()[file.offset :]


def test_mutated_data_sets_are_answered_and_the_receiver_lives(tmp_path: Path) -> None:
    rng = random.Random(20260102)
    sop_uid, dataset = _dataset(tmp_path)
    syntaxes = (EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE, DEFLATED_LE)
    contexts = [ProposedContext(2 * n + 1, MR, (s,)) for n, s in enumerate(syntaxes)]
    seen = set()
    with receiving(tmp_path) as stand:
        pid = stand.pool.pids()
        association = RawAssociation(Peer("127.0.0.1", stand.port, "NEUROPACS_AGENT", "FUZZ"), contexts)
        for n in range(ROUNDS):
            broken = rng.randbytes(rng.randint(0, 3000)) if n % 10 == 0 else _mutate(rng, dataset)
            status, _ = association.store(rng.choice((1, 1, 1, 3, 5, 7)), MR, sop_uid, memoryview(broken))
            seen.add(status)
        association.release()
        assert seen <= ALLOWED
        assert {0x0000, 0xC000} <= seen
        assert stand.pool.pids() == pid
        stand.books.wait(lambda: len(stand.books.closed) == 1)
        assert all(r.header.sop_uid == sop_uid for r in stand.books.records)


def test_mutated_pdus_never_stop_the_receiver(tmp_path: Path) -> None:
    rng = random.Random(20260103)
    sop_uid, dataset = _dataset(tmp_path)
    with receiving(tmp_path, association_timeout_s=1, pdu_timeout_s=1, dimse_timeout_s=1, idle_timeout_s=2) as stand:
        pid = stand.pool.pids()
        for n in range(ROUNDS):
            if n % 2:
                with connect(stand.port) as client:
                    client.sendall(_mutate(rng, request()) if n % 4 == 1 else rng.randbytes(rng.randint(1, 400)))
                continue
            with associate(stand.port, "FUZZ") as association:
                command = association._command(1, MR, sop_uid)
                stream = p_data(3, 3, command) + p_data(3, 2, dataset)
                try:
                    association._socket.sendall(_mutate(rng, stream[:1500]) + stream[1500:])
                    if n % 6 == 0:
                        association._socket.shutdown(1)
                        read_all(association._socket)
                except OSError:
                    pass
        with associate(stand.port) as good:
            assert good.echo(1) == 0
            assert good.store(3, MR, sop_uid, memoryview(dataset))[0] == 0
            good.release()
        assert stand.pool.pids() == pid
        stand.books.wait(lambda: len(stand.books.opened) == len(stand.books.closed))


def test_another_dimse_message_aborts_the_association(tmp_path: Path) -> None:
    fields = [0x0020, 0x0021, 0x0010, 0x0130, 0x0100, 0x8001, 0x7777]
    with receiving(tmp_path) as stand:
        for field in fields:
            with associate(stand.port) as association:
                association._socket.sendall(p_data(1, 3, association._command(field, "1.2.840.10008.1.1", None)))
                assert read_all(association._socket)[:1] == b"\x07", hex(field)
        stand.books.wait(lambda: len(stand.books.closed) == len(fields))
        assert {c.outcome for c in stand.books.closed} == {"aborted"}


def test_a_command_without_command_field_aborts_the_association(tmp_path: Path) -> None:
    with receiving(tmp_path) as stand, associate(stand.port) as association:
        association._socket.sendall(p_data(1, 3, struct.pack("<HHI4s", 0, 0, 4, bytes(4))))
        assert read_all(association._socket)[:1] == b"\x07"


@pytest.mark.parametrize("uid", ["../../../tmp/evil", "1.2.3\\4", "1.2.3/4", "urn:uuid:1", "1.2.3 4"])
def test_a_uid_with_foreign_characters_is_not_understood(uid: str) -> None:
    raw = bytes.fromhex("08001600") + b"UI" + struct.pack("<H", 26) + MR.encode().ljust(26, b"\0")
    value = uid.encode() + b"\0" * (len(uid) % 2)
    raw += bytes.fromhex("08001800") + b"UI" + struct.pack("<H", len(value)) + value
    with pytest.raises(BadDataset):
        read_facts(raw, EXPLICIT_LE)


def test_command_and_data_set_must_name_the_same_object(tmp_path: Path) -> None:
    sop_uid, dataset = _dataset(tmp_path)
    with receiving(tmp_path) as stand, associate(stand.port) as association:
        assert association.store(3, MR, "1.2.3.4", memoryview(dataset)) == (
            0xA900, "SOP Instance UID of command and data set differ",
        )  # fmt: skip
        assert association.store(3, "1.2.840.10008.5.1.4.1.1.2", sop_uid, memoryview(dataset))[0] == 0x0122
        assert association.store(3, MR, sop_uid, memoryview(dataset)) == (0, "")
        association.release()
        stand.books.wait(lambda: len(stand.books.closed) == 1)
        assert (stand.books.closed[0].objects, stand.books.closed[0].refused_objects) == (1, 2)


def test_data_under_a_context_that_was_refused_aborts(tmp_path: Path) -> None:
    with receiving(tmp_path) as stand, associate(stand.port) as association:
        with pytest.raises(AssociationFailed):
            association.store(77, MR, "1.2.3", memoryview(b"abcd"))
