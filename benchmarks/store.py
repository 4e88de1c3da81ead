"""The store: durable records a second, index rows a second, transitions a second, against a plain file and fdatasync.

Each round measures ours and the plain file in turn, on the same disk, so that a ratio pairs what ran side by side. The
plain peer writes one file an object and syncs it (not the directory): less than what ours promises.
"""

from __future__ import annotations

import os
import random
import tempfile
import threading
import time
from pathlib import Path

from agent.config import Settings
from agent.store.database import change, current
from agent.store.keys import Keyring, StudyKeys
from agent.store.schema import database
from agent.store.segments import RecordHeader, SegmentWriter
from agent.store.studies import IndexFacts, IndexRow, Transition, index_records, record_transition, resolve
from agent.store.writer import Writer
from agent.study import StudyStatus, Trigger
from benchmarks.figures import Figure, paired_ratio

OBJECT_BYTES = 131_072
FACTS = '{"facts": {"rows": 256, "columns": 256, "instance_number": 1}, "identifiers": {"patient_id": "P"}}'


def _header(study, number):
    sop_class, syntax = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.1.2.1"
    return RecordHeader(study, f"{study}.1", f"{study}.1.{number}", sop_class, syntax, "A", "B", "a", 1.0, FACTS)


def _in_threads(count, work, items):
    threads = [threading.Thread(target=work, args=(items[n::count],)) for n in range(count)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(items) / (time.perf_counter() - start)


def _plain_files(folder, threads, count, body):
    def work(numbers):
        for number in numbers:
            descriptor = os.open(folder / f"plain-{threads}-{number}", os.O_WRONLY | os.O_CREAT, 0o600)
            os.write(descriptor, body)
            os.fdatasync(descriptor)
            os.close(descriptor)

    rate = _in_threads(threads, work, list(range(count)))
    for path in folder.glob(f"plain-{threads}-*"):
        path.unlink()
    return rate


def _segments(folder, name, threads, count, key, body):
    writer = SegmentWriter(folder, name, segment_bytes=134_217_728)

    def work(numbers):
        for number in numbers:
            writer.append(key, _header("1.2.3", number), [body])

    rate = _in_threads(threads, work, list(range(count)))
    writer.close()
    for path in folder.glob(f"{name}-*"):
        path.unlink()
    return rate


class _Store:
    """An installation with one writer."""

    def __init__(self, folder):
        settings = Settings(data_dir=folder / "data", keys={"file": folder / "agent.key"})
        self.keyring = Keyring.open(settings, create=True)
        self.writer = Writer(settings.data_dir, self.keyring)
        self.writer.start()
        self.keys = StudyKeys(self.writer, self.keyring)
        self.segments = settings.data_dir / "segments"

    def index_rate(self, study, count):
        writer = SegmentWriter(self.segments, f"i{study}", segment_bytes=134_217_728, sync=False)
        uid, key = f"1.2.{study}", self.keys.for_study(f"1.2.{study}")
        facts = IndexFacts("20260102", "1015", "Brain", "MR", "1", "t1")
        sealed = self.keyring.seal(b"{}", "s")
        study_id = self.keyring.study_id(uid)
        records = [writer.append(key, _header(uid, n), [b"x%d" % n]) for n in range(count)]
        writer.close()
        rows = [IndexRow(record, study_id, "ANON", sealed, False, facts) for record in records]
        start = time.perf_counter()
        for at in range(0, count, 200):
            self.writer.run(lambda at=at: index_records(rows[at : at + 200]))
        return count / (time.perf_counter() - start)

    def transition_rate(self, study, count, together):
        study_id = resolve(f"1.2.{study}")
        self.writer.run(lambda: change("UPDATE study SET status = 'receiving', revision = 1"))
        step = Transition(study_id, Trigger.HELD, "agent", StudyStatus.RECEIVING, 1, flags={"held": True})
        start = time.perf_counter()
        for _ in range(count // together):
            futures = [self.writer.submit(lambda: record_transition(step, 1.0)) for _ in range(together)]
            for future in futures:
                future.result()
        return count / (time.perf_counter() - start)

    def close(self):
        self.writer.stop(10)
        current().close()
        database.initialize(None)


def run(*, quick, say):
    rounds = 2 if quick else 7
    count = 150 if quick else 600
    body = random.Random(1).randbytes(OBJECT_BYTES)
    seen = {}

    def note(name, value):
        seen.setdefault(name, []).append(value)

    with tempfile.TemporaryDirectory(dir=os.environ.get("AGENT_BENCH_FOLDER")) as name:
        folder = Path(name)
        store = _Store(folder)
        key = store.keys.for_study("1.2.3")
        _segments(store.segments, "warm", 1, 20, key, body)
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            for threads in (1, 4):
                note(f"plain file, {threads} threads", _plain_files(folder, threads, count, body))
                note(f"segments, {threads} threads", _segments(store.segments, f"b{number}", threads, count, key, body))
            note("index", store.index_rate(100 + number, 2000 if quick else 10_000))
            note("transitions", store.transition_rate(100 + number, 64 if quick else 320, 1))
            note("transitions, 32 at once", store.transition_rate(100 + number, 320 if quick else 1600, 32))
        store.close()
    figures = {n: Figure(n, "rows/s" if n == "index" else "1/s", tuple(v)) for n, v in seen.items()}
    ratios = [
        paired_ratio(
            f"segments / plain file, {t} threads",
            figures[f"segments, {t} threads"],
            figures[f"plain file, {t} threads"],
        )
        for t in (1, 4)
    ]
    return [*figures.values(), *ratios]
