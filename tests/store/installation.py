"""A small installation in a temporary folder: keys, database, writer, segments."""

from __future__ import annotations

import json
import os
from pathlib import Path

from agent.config import Settings
from agent.store import database
from agent.store.keys import Keyring, StudyKey, StudyKeys
from agent.store.objects import ObjectRef
from agent.store.segments import RecordHeader, SegmentWriter, StoredRecord
from agent.store.studies import IndexFacts, IndexOutcome, IndexRow, index_records
from agent.store.writer import Writer

SYNTAX = "1.2.840.10008.1.2.1"
CLASS = "1.2.840.10008.5.1.4.1.1.4"


def settings_in(folder: Path) -> Settings:
    return Settings(data_dir=folder / "data", keys={"file": folder / "agent.key"})


def header_of(study_uid: str, number: int, *, received_at: float = 1000.0, association: str = "a1") -> RecordHeader:
    facts = json.dumps({"facts": {"rows": number}, "identifiers": {"patient_name": "MARKED^PATIENT"}})
    return RecordHeader(
        study_uid, f"{study_uid}.1", f"{study_uid}.1.{number}", CLASS, SYNTAX, "MODALITY", "AGENT", association, received_at,
        facts,
    )  # fmt: skip


def a_key(key_id: str = "00112233aabbccdd") -> StudyKey:
    return StudyKey(key_id, "study", os.urandom(32))


def ref_of(record: StoredRecord, instance_id: int = 1) -> ObjectRef:
    header = record.header
    return ObjectRef(
        instance_id, record.segment, record.offset, record.length, record.key_id, record.size_bytes, record.sha256,
        header.sop_class_uid, header.sop_uid, header.series_uid, header.transfer_syntax_uid,
    )  # fmt: skip


class Installation:
    """What the engine holds of the store, with the few steps tests repeat."""

    def __init__(self, folder: Path) -> None:
        self.settings = settings_in(folder)
        self.keyring = Keyring.open(self.settings, create=True)
        self.writer = Writer(self.settings.data_dir, self.keyring)
        self.writer.start()
        self.keys = StudyKeys(self.writer, self.keyring, pool_size=4)
        self.segments = self.settings.data_dir / "segments"
        self._names = 0

    def segment_writer(self, name: str = "", segment_bytes: int = 4 << 20) -> SegmentWriter:
        self._names += 1
        return SegmentWriter(self.segments, name or f"r{self._names}", segment_bytes=segment_bytes)

    def row(self, record: StoredRecord) -> IndexRow:
        study_id = self.keyring.study_id(record.header.study_uid)
        facts = IndexFacts("20260102", "101500", "Brain", "MR", "1", "t1")
        return IndexRow(record, study_id, "ANON1", self.keyring.seal(b"{}", f"study:{study_id}"), False, facts)

    def index(self, *records: StoredRecord) -> IndexOutcome:
        return self.writer.run(lambda: index_records([self.row(record) for record in records]))

    def receive(self, study_uid: str, count: int = 3, *, size: int = 1000, start: int = 0) -> list[StoredRecord]:
        """Store and index `count` new instances of a study."""
        segment = self.segment_writer()
        records = [
            segment.append(self.keys.for_study(study_uid), header_of(study_uid, n), [os.urandom(size)])
            for n in range(start, start + count)
        ]
        segment.close()
        self.index(*records)
        return records

    def close(self) -> None:
        assert self.writer.stop(10)
        database.current().close()
        database.schema.database.initialize(None)
