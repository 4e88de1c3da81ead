"""Segments after a crash: acknowledged records are found, torn ones cut, damage is named and left alone."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.errors import StorageError, StoreFull
from agent.store.database import query
from agent.store.objects import ObjectReader
from agent.store.recovery import recover, verify
from agent.store.segments import SegmentWriter, margins
from agent.store.segments import commit as group_commit
from agent.store.segments.record import CHUNK_BYTES, FRAME_BYTES
from agent.store.studies import read_study, resolve
from tests.store.installation import Installation, a_key, header_of, ref_of


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Installation]:
    installation = Installation(tmp_path)
    yield installation
    installation.close()


def _append(store: Installation, writer: SegmentWriter, count: int, *, size: int = 3000, start: int = 0) -> list:
    key = store.keys.for_study("1.2.3")
    return [writer.append(key, header_of("1.2.3", n), [os.urandom(size)]) for n in range(start, start + count)]


def _die(writer: SegmentWriter) -> None:
    """Leave a writer as a kill -9 leaves it: descriptor closed by the kernel, no footer."""
    if writer._current is not None:
        os.close(writer._current.descriptor)
        writer._current.descriptor = -1


def test_records_that_were_not_indexed_are_found_with_all_the_index_needs(store: Installation) -> None:
    writer = store.segment_writer()
    records = _append(store, writer, 30)
    store.index(*records[:11])
    _die(writer)
    report = recover(store.segments, store.keyring)
    assert report.records == records[11:]
    assert (report.torn, report.damaged, report.live) == (0, 0, 0)
    store.index(*report.records)
    assert recover(store.segments, store.keyring).found == 0
    assert verify(store.segments, store.keyring).objects == 30


def test_recovery_hands_records_on_in_batches(store: Installation) -> None:
    writer = store.segment_writer()
    _append(store, writer, 450, size=10)
    _die(writer)
    sizes: list[int] = []

    def take(batch) -> None:
        sizes.append(len(batch))
        store.index(*batch)

    report = recover(store.segments, store.keyring, on_records=take)
    assert sizes == [200, 200, 50]
    assert report.records == []
    assert report.found == 450
    study = read_study(resolve("1.2.3"))
    assert study is not None
    assert study.instances_received == 450


def test_a_living_writer_is_left_alone(store: Installation) -> None:
    writer = store.segment_writer()
    records = _append(store, writer, 3)
    before = (store.segments / records[0].segment).read_bytes()
    report = recover(store.segments, store.keyring)
    assert (report.live, report.found) == (1, 0)
    assert (store.segments / records[0].segment).read_bytes() == before
    _append(store, writer, 3, start=3)
    writer.close()
    assert recover(store.segments, store.keyring).found == 6


def test_recovery_of_one_receiver_touches_its_files_only(store: Installation) -> None:
    first, second = store.segment_writer("r1"), store.segment_writer("r10")
    _append(store, first, 2)
    _append(store, second, 3, start=10)
    _die(first)
    _die(second)
    assert recover(store.segments, store.keyring, only="r1").found == 2
    assert recover(store.segments, store.keyring, only="r10").found == 3


@pytest.mark.parametrize("seed", range(12))
def test_a_torn_tail_is_cut_and_what_was_before_it_stays(store: Installation, seed: int) -> None:
    randomness = random.Random(seed)
    writer = store.segment_writer()
    records = _append(store, writer, 8, size=randomness.randrange(1, 70_000))
    _die(writer)
    path = store.segments / records[0].segment
    last = records[-1]
    cut = last.offset + randomness.randrange(1, last.length - 16)
    os.truncate(path, cut)
    if seed % 2:
        os.truncate(path, cut + 50_000)  # zeros behind, as space reserved ahead
    report = recover(store.segments, store.keyring)
    assert report.records == records[:-1]
    assert report.damaged == 0
    assert path.stat().st_size == last.offset + FRAME_BYTES
    store.index(*report.records)
    assert recover(store.segments, store.keyring).found == 0
    assert verify(store.segments, store.keyring).bad == 0


def test_a_torn_record_between_good_ones_is_passed_and_made_void(
    store: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = store.segment_writer()
    real, blocked, release = os.pwrite, threading.Event(), threading.Event()

    def pwrite(descriptor: int, data, offset: int) -> int:
        if len(data) > 1000 and not blocked.is_set():
            blocked.set()
            release.wait(20)
            raise OSError(errno.EBADF, "the process is dead")
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    store.keys.for_study("1.2.3")

    def slow() -> None:
        with pytest.raises(StorageError):
            _append(store, writer, 1)

    thread = threading.Thread(target=slow)
    thread.start()
    assert blocked.wait(10)
    records = _append(store, writer, 2, start=1)  # acknowledged while the first is still being written
    path = store.segments / records[0].segment
    raw = path.read_bytes()
    release.set()
    thread.join()
    writer.close()
    path.unlink()
    path.write_bytes(raw)  # as a kill -9 would have left it
    report = recover(store.segments, store.keyring)
    assert report.records == records
    assert (report.torn, report.damaged) == (1, 0)
    again = recover(store.segments, store.keyring)
    assert (again.found, again.torn, again.damaged) == (2, 0, 0)


def test_damage_below_the_watermark_is_named_and_never_cut(store: Installation) -> None:
    writer = store.segment_writer()
    records = _append(store, writer, 6)
    _die(writer)
    path = store.segments / records[0].segment
    raw = bytearray(path.read_bytes())
    raw[records[1].offset + FRAME_BYTES + 5] ^= 1  # its header
    raw[records[3].offset + 9] ^= 1  # its frame: the length is gone too
    path.write_bytes(raw)
    report = recover(store.segments, store.keyring)
    assert report.records == [records[0], records[2], records[4], records[5]]
    assert {damage.offset for damage in report.damage} == {records[1].offset, records[3].offset}
    assert path.read_bytes() == bytes(raw)


def test_a_damaged_payload_below_the_watermark_is_found_by_verification(store: Installation) -> None:
    records = store.receive("1.2.3", 4)
    path = store.segments / records[2].segment
    raw = bytearray(path.read_bytes())
    raw[records[2].offset + 700] ^= 4
    path.write_bytes(raw)
    report = verify(store.segments, store.keyring)
    assert (report.objects, report.bad) == (4, 1)
    assert report.bad_objects[0].code == "record_chunk"


def test_a_closed_segment_that_was_cut_shows(store: Installation) -> None:
    records = store.receive("1.2.3", 5)
    path = store.segments / records[0].segment
    for cut in (records[4].offset, records[4].offset + 100):
        os.truncate(path, cut)
        report = verify(store.segments, store.keyring)
        assert report.bad == 1
        assert report.cut_segments == [path.name]
    assert recover(store.segments, store.keyring).damaged


def test_a_settled_segment_is_not_read_again_but_its_loss_is_seen(store: Installation) -> None:
    records = store.receive("1.2.3", 5)
    assert recover(store.segments, store.keyring).segments == 1
    assert recover(store.segments, store.keyring).segments == 0
    path = store.segments / records[0].segment
    os.truncate(path, path.stat().st_size - 1)
    assert [d.code for d in recover(store.segments, store.keyring).damage] == ["segment_cut"]
    path.unlink()
    assert [d.code for d in recover(store.segments, store.keyring).damage] == ["segment_missing"]


def test_leftovers_of_a_creation_are_removed(store: Installation) -> None:
    writer = store.segment_writer()
    _append(store, writer, 1)
    writer.close()
    (store.segments / "rx-1.seg").touch()
    (store.segments / "rx-2.seg").write_bytes(bytes(5000))
    large = SegmentWriter(store.segments, "ry", segment_bytes=4 << 20)

    def dying() -> Iterator[bytes]:
        for _ in range(6):
            yield bytes(CHUNK_BYTES)
        raise ConnectionAbortedError

    with pytest.raises(ConnectionAbortedError):
        large.append(store.keys.for_study("1.2.3"), header_of("1.2.3", 9), dying())
    recover(store.segments, store.keyring)
    assert [path.name for path in store.segments.iterdir()] == ["r1-1.seg"]


def test_records_of_a_deleted_study_are_passed_over(store: Installation) -> None:
    writer = store.segment_writer()
    _append(store, writer, 2)
    _die(writer)
    store.writer.run(lambda: query("DELETE FROM study_key WHERE study_id IS NOT NULL"))
    report = recover(store.segments, store.keyring)
    assert (report.shredded, report.found, report.damaged) == (2, 0, 0)


# group commit


def test_a_failed_sync_fails_every_object_of_its_commit_and_the_file_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = SegmentWriter(tmp_path, "r", segment_bytes=8 << 20)
    key = a_key()
    good = writer.append(key, header_of("1.2", 0), [b"before"])
    real, failing, entered = os.fdatasync, threading.Event(), threading.Event()
    release = threading.Event()

    def fdatasync(descriptor: int) -> None:
        entered.set()
        release.wait(10)
        if failing.is_set():
            raise OSError(errno.EIO, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(group_commit.os, "fdatasync", fdatasync)
    failing.set()
    errors: list[Exception] = []

    def append(number: int) -> None:
        try:
            writer.append(key, header_of("1.2", number), [b"lost"])
        except StorageError as error:
            errors.append(error)

    threads = [threading.Thread(target=append, args=(n,)) for n in range(1, 6)]
    for thread in threads:
        thread.start()
    assert entered.wait(10)
    release.set()
    for thread in threads:
        thread.join()
    assert len(errors) == 5
    failing.clear()
    after = writer.append(key, header_of("1.2", 9), [b"after"])
    assert after.segment != good.segment
    writer.close()
    with ObjectReader(tmp_path, {key.key_id: key.secret}) as reader:
        assert reader.read(ref_of(good)) == b"before"
        assert reader.read(ref_of(after)) == b"after"


def test_each_acknowledged_record_was_in_a_sync_that_began_after_it_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Segments roll all the time here: a leader that synced only its own file would be caught."""
    synced: dict[int, int] = {}  # inode -> bytes that were in the file when a sync of it began
    written: dict[int, int] = {}
    lock = threading.Lock()
    real_sync, real_write = os.fdatasync, os.pwrite

    def pwrite(descriptor: int, data, offset: int) -> int:
        count = real_write(descriptor, data, offset)
        with lock:
            inode = os.fstat(descriptor).st_ino
            written[inode] = max(written.get(inode, 0), offset + count)
        return count

    def fdatasync(descriptor: int) -> None:
        inode = os.fstat(descriptor).st_ino
        with lock:
            seen = written.get(inode, 0)
        real_sync(descriptor)
        with lock:
            synced[inode] = max(synced.get(inode, 0), seen)

    monkeypatch.setattr(os, "pwrite", pwrite)
    monkeypatch.setattr(os, "fdatasync", fdatasync)
    writer = SegmentWriter(tmp_path, "r", segment_bytes=100_000)
    key = a_key()
    late: list[str] = []

    def append(start: int) -> None:
        for n in range(start, start + 40):
            record = writer.append(key, header_of("1.2", n), [os.urandom(20_000)])
            with lock:
                done = synced.get((tmp_path / record.segment).stat().st_ino, 0)
            if done < record.offset + record.length:
                late.append(record.segment)

    threads = [threading.Thread(target=append, args=(n * 100,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    assert late == []
    assert len(list(tmp_path.iterdir())) > 20


def test_a_full_disk_is_refused_and_goes_on_when_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = SegmentWriter(tmp_path, "r", segment_bytes=4 << 20)
    key = a_key()
    monkeypatch.setattr(margins, "free_bytes", lambda _: 1000)
    with pytest.raises(StoreFull):
        writer.append(key, header_of("1.2", 1), [b"x"])
    with pytest.raises(StoreFull):
        writer.append(key, header_of("1.2", 1), [bytes(6 << 20)])
    monkeypatch.undo()
    record = writer.append(key, header_of("1.2", 1), [b"x"])
    writer.close()
    assert [path.name for path in tmp_path.iterdir()] == [record.segment]


def test_no_space_in_the_middle_of_a_write_is_refused_and_makes_the_record_void(
    store: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = store.segment_writer()
    records = _append(store, writer, 2)
    real = os.pwrite

    def pwrite(descriptor: int, data, offset: int) -> int:
        if len(data) > 1000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(StoreFull):
        _append(store, writer, 1, start=5)
    monkeypatch.undo()
    records += _append(store, writer, 2, start=6)
    writer.close()
    report = recover(store.segments, store.keyring)
    assert report.records == records
    assert (report.torn, report.damaged) == (0, 0)


# kill -9

CHILD = """
import os, sys, threading
from agent.store.keys import StudyKey
from agent.store.segments import SegmentWriter
from tests.store.installation import header_of
from pathlib import Path
folder, name, key_id, secret = sys.argv[1:]
key = StudyKey(key_id, "s", bytes.fromhex(secret))
writer = SegmentWriter(Path(folder), name, segment_bytes=4 << 20)
lock = threading.Lock()
def run(thread):
    n = 0
    while True:
        size = (n * 7919 + thread * 104729) % 90_000 if n % 25 else 5 << 20
        r = writer.append(key, header_of("1.2.3", thread * 1_000_000 + n), [os.urandom(size)])
        with lock:
            os.write(1, f"{r.segment} {r.offset} {r.size_bytes} {r.sha256}\\n".encode())
        n += 1
for t in range(4):
    threading.Thread(target=run, args=(t,)).start()
"""


def _kill_loop(store: Installation, rounds: int) -> int:
    root = str(Path(__file__).resolve().parents[2])
    key = store.keys.for_study("1.2.3")
    randomness = random.Random(rounds)
    acknowledged = 0
    for number in range(rounds):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(store.segments), f"k{number}", key.key_id, key.secret.hex()],
            stdout=subprocess.PIPE, cwd=root,
        )  # fmt: skip
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(randomness.randrange(1, 120))]
        child.send_signal(signal.SIGKILL)
        lines += child.stdout.readlines()
        child.wait()
        child.stdout.close()
        report = recover(store.segments, store.keyring, only=f"k{number}")
        found = {(r.segment, r.offset): r for r in report.records}
        with ObjectReader(store.segments, {key.key_id: key.secret}) as reader:
            for line in lines:
                if not line.endswith(b"\n"):
                    continue
                segment, offset, _, sha256 = line.decode().split()
                record = found[segment, int(offset)]
                assert hashlib.sha256(reader.read(ref_of(record))).hexdigest() == sha256 == record.sha256
                acknowledged += 1
        assert report.damaged == 0
        again = recover(store.segments, store.keyring, only=f"k{number}")
        assert len(again.records) == len(report.records)
        assert (again.torn, again.damaged) == (0, 0)
        for path in store.segments.glob(f"k{number}-*"):
            path.unlink()
    return acknowledged


def test_every_acknowledged_record_survives_kill_9(store: Installation) -> None:
    assert _kill_loop(store, 5) > 5


@pytest.mark.slow
def test_every_acknowledged_record_survives_kill_9_fifty_times(store: Installation) -> None:
    assert _kill_loop(store, 50) > 50
