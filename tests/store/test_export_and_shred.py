"""Export gives back what was on the wire; what was shredded is gone."""

from __future__ import annotations

import os
from pathlib import Path

import pydicom
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from agent.errors import IntegrityError
from agent.store.database import query
from agent.store.keys import all_secrets
from agent.store.objects import ObjectReader
from agent.store.recovery import verify
from agent.store.studies import (
    Transition,
    export_study,
    read_instances,
    read_study,
    record_transition,
    resolve,
    shred,
    unlink_dead,
)
from agent.study import Trigger
from tests.store.installation import Installation, header_of, ref_of


def test_every_version_comes_back_with_the_bytes_of_the_wire(store: Installation, tmp_path: Path) -> None:
    bodies = [b"\x08\x00\x16\x00UI\x04\x001.2\x00", b"\x08\x00\x16\x00UI\x04\x001.3\x00", os.urandom(5 << 20)]
    segment, key = store.segment_writer(), store.keys.for_study("1.2.3")
    store.index(
        *(segment.append(key, header_of("1.2.3", n), [body]) for n, body in zip((1, 1, 2), bodies, strict=True))
    )
    segment.close()
    out = tmp_path / "out"
    report = export_study(store.segments, store.keyring, resolve("1.2.3"), out)
    assert (report.objects, report.bad) == (3, 0)
    files = sorted(out.iterdir())
    assert [file.read_bytes()[-len(body) :] for file, body in zip(files, bodies, strict=True)] == bodies
    for file, body in zip(files, bodies, strict=True):
        raw = file.read_bytes()
        length = (
            pydicom.dcmread(file, stop_before_pixels=True, specific_tags=[], force=False).file_meta
            if len(body) < 99
            else None
        )
        assert raw[:132] == bytes(128) + b"DICM"
        assert length is None or len(raw) == 144 + length.FileMetaInformationGroupLength + len(body)
        assert "1.2.3" not in file.name
        assert file.stat().st_mode & 0o077 == 0


def test_a_damaged_object_is_counted_and_not_written(store: Installation, tmp_path: Path) -> None:
    records = store.receive("1.2.3", 3)
    path = store.segments / records[1].segment
    raw = bytearray(path.read_bytes())
    raw[records[1].offset + 700] ^= 1
    path.write_bytes(raw)
    report = export_study(store.segments, store.keyring, resolve("1.2.3"), tmp_path / "out")
    assert (report.objects, report.bad) == (2, 1)
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_a_shredded_study_cannot_be_read_with_every_key_that_is_left(store: Installation) -> None:
    gone, kept = store.receive("1.2.3", 3), store.receive("1.2.4", 2)
    study_id = resolve("1.2.3")
    wrapped = query("SELECT wrapped FROM study_key WHERE study_id = ?", (study_id,))[0][0]
    copy = (store.segments / gone[0].segment).read_bytes()
    assert wrapped in _decrypted_pages(store)
    assert store.writer.run(lambda: shred(study_id, "janitor", "retention")) == 3
    store.keys.forget(study_id)
    assert unlink_dead(store.writer, store.segments) == [gone[0].segment]
    (store.segments / gone[0].segment).write_bytes(copy)
    with ObjectReader(store.segments, all_secrets(store.keyring)) as reader:
        with pytest.raises(IntegrityError):
            reader.read(ref_of(gone[0]))
        assert reader.read(ref_of(kept[0]))
    assert wrapped not in _decrypted_pages(store)
    study = read_study(study_id)
    assert study is not None
    assert (study.identifiers, study.instances_received) == (None, 0)
    assert read_instances(study_id) == []
    assert verify(store.segments, store.keyring).objects == 2


def _decrypted_pages(store: Installation) -> bytes:
    """Every page of database and write-ahead log in clear, free ones included, by SQLCipher 4's published format."""
    key, data_dir = store.keyring.database_key, store.settings.data_dir
    raw = (data_dir / "state.db").read_bytes()
    pages = [raw[at : at + 4096] for at in range(0, len(raw), 4096)]
    pages[0] = pages[0][16:]  # the salt stands in the clear
    log = (data_dir / "state.db-wal").read_bytes()
    pages += [log[at : at + 4096] for at in range(32 + 24, len(log), 4096 + 24)]
    clear = b""
    for page in pages:
        cipher = Cipher(algorithms.AES(key), modes.CBC(page[-80:-64])).decryptor()
        clear += cipher.update(page[:-80]) + cipher.finalize()
    return clear


def test_a_segment_that_living_studies_share_stays(store: Installation) -> None:
    segment = store.segment_writer()
    records = [
        segment.append(store.keys.for_study(uid), header_of(uid, n), [os.urandom(100)])
        for n, uid in enumerate(("1.2.3", "1.2.4"))
    ]
    segment.close()
    store.index(*records)
    store.writer.run(lambda: shred(resolve("1.2.3")))
    assert unlink_dead(store.writer, store.segments) == []
    assert verify(store.segments, store.keyring).bad == 0
    store.writer.run(lambda: shred(resolve("1.2.4")))
    assert unlink_dead(store.writer, store.segments) == [records[0].segment]


def test_a_segment_under_a_living_writer_is_never_unlinked(store: Installation) -> None:
    segment = store.segment_writer()
    record = segment.append(store.keys.for_study("1.2.3"), header_of("1.2.3", 1), [b"x"])
    store.index(record)
    store.writer.run(lambda: shred(resolve("1.2.3")))
    assert unlink_dead(store.writer, store.segments) == []
    segment.close()
    assert unlink_dead(store.writer, store.segments) == [record.segment]


def test_a_study_that_returns_after_shredding_gets_a_new_key(store: Installation) -> None:
    old = store.receive("1.2.3", 1)[0].key_id
    store.writer.run(lambda: shred(resolve("1.2.3")))
    store.keys.forget(resolve("1.2.3"))
    assert store.receive("1.2.3", 1)[0].key_id != old
    assert verify(store.segments, store.keyring).bad == 0


def test_a_deleted_study_is_named_as_deleted_when_it_is_exported(store: Installation, tmp_path: Path) -> None:
    store.receive("1.2.3", 3)
    study_id = resolve("1.2.3")
    row = read_study(study_id)
    step = Transition(study_id, Trigger.DELETED, "tester", row.status, row.revision, flags={"deleted": True})
    store.writer.run(lambda: record_transition(step, 1_800_000_000.0))
    store.writer.run(lambda: shred(study_id))
    with pytest.raises(IntegrityError, match=r"was deleted on 2027-01-15 08:00 UTC") as refused:
        export_study(store.segments, store.keyring, study_id, tmp_path / "out")
    assert refused.value.exit_code == 1
    assert not (tmp_path / "out").exists()
