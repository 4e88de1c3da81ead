"""Indexing received objects.

Job: turn records of segments into rows of studies, series and instances, many in few statements. Place: inside
operations of the writer, for arrivals and for recovery alike. It must never index a record twice, replace a version
by another, or give a study a transition: late arrivals are the study actor's to judge.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from agent.store.database import change, change_many, query
from agent.store.segments.record import StoredRecord
from agent.study import StudyStatus, Trigger, starts_revision


@dataclass(frozen=True, slots=True)
class IndexFacts:
    """The few header facts that rows of studies and series show."""

    study_date: str = ""
    study_time: str = ""
    study_description: str = ""
    modality: str = ""
    series_number: str = ""
    series_description: str = ""


@dataclass(frozen=True, slots=True)
class IndexRow:
    """A record with what the index needs to know of it."""

    record: StoredRecord
    study_id: str
    patient: str  # the pseudonym
    identifiers_sealed: bytes
    description_identifies: bool
    facts: IndexFacts = field(default_factory=IndexFacts)


@dataclass(frozen=True, slots=True)
class StudyArrivals:
    """What a batch brought to one study."""

    new: int = 0
    duplicates: int = 0
    conflicts: int = 0
    deleted_returned: bool = False


@dataclass(frozen=True, slots=True)
class IndexOutcome:
    """What a batch brought, by study id; studies of records that were indexed before are left out."""

    studies: dict[str, StudyArrivals]


@dataclass(slots=True)
class _Known:
    """What is known of a study before the batch."""

    status: StudyStatus
    revision: int
    deleted: bool
    versions: dict[str, dict[str, bool]]  # SOP Instance UID -> SHA-256 of its versions

    @property
    def arriving_revision(self) -> int:
        late = starts_revision(self.status, Trigger.INSTANCE_ARRIVED)
        return self.revision + 1 if late else self.revision


_INSERT_INSTANCE = (
    "INSERT INTO instance (study_id, series_uid, sop_uid, sop_class_uid, transfer_syntax_uid, "
    "size_bytes, sha256, key_id, "
    'segment, "offset", length, revision, version, active, association_id, calling_aet, called_aet, '
    "received_at, facts_json) "
    "VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
)
_INSERT_DUPLICATE = (
    'INSERT INTO duplicate (study_id, sop_uid, segment, "offset", length, association_id, received_at) '
    "VALUES (?,?,?,?,?,?,?)"
)
_UPSERT_SERIES = (
    "INSERT INTO series (study_id, series_uid, modality, description, number, instances_received, last_arrival_at) "
    "VALUES (?,?,?,?,?,?,?) ON CONFLICT (study_id, series_uid) DO UPDATE SET "
    "instances_received = instances_received + excluded.instances_received, "
    "last_arrival_at = max(last_arrival_at, excluded.last_arrival_at), "
    "modality = CASE WHEN modality = '' THEN excluded.modality ELSE modality END, "
    "description = CASE WHEN description = '' THEN excluded.description ELSE description END, "
    "number = CASE WHEN number = '' THEN excluded.number ELSE number END"
)
_UPSERT_SEGMENT = (
    "INSERT INTO segment (name, records, end_bytes, settled) VALUES (?,?,?,0) ON CONFLICT (name) DO UPDATE SET "
    "records = records + excluded.records, end_bytes = max(end_bytes, excluded.end_bytes)"
)


def index_records(rows: Sequence[IndexRow]) -> IndexOutcome:
    """Index records; inside a writer operation.

    A record that was indexed before (same segment and offset) changes nothing. An object whose bytes the study
    already has
    is a duplicate and only noted; other bytes under a known SOP Instance UID become the next version, not active,
    and the
    study is flagged `conflict`.

    Returns
    -------
    IndexOutcome
        New instances, duplicates and conflicts by study.
    """
    fresh = _not_indexed(rows)
    by_study: dict[str, list[IndexRow]] = {}
    for row in fresh:
        by_study.setdefault(row.study_id, []).append(row)
    outcome = {study_id: _index_study(study_id, batch) for study_id, batch in by_study.items()}
    _note_segments(fresh)
    return IndexOutcome(outcome)


def _not_indexed(rows: Sequence[IndexRow]) -> list[IndexRow]:
    offsets: dict[str, dict[int, IndexRow]] = {}
    for row in rows:
        offsets.setdefault(row.record.segment, {})[row.record.offset] = row
    for segment, wanted in offsets.items():
        for offset in indexed_offsets(segment, min(wanted), max(wanted)):
            wanted.pop(offset, None)
    return [row for row in rows if offsets[row.record.segment].get(row.record.offset) is row]


def indexed_offsets(segment: str, first: int = 0, last: int = 2**62) -> set[int]:
    """Return the offsets between `first` and `last` of a segment that the index knows."""
    found = query(
        'SELECT "offset" FROM instance WHERE segment = ?1 AND "offset" BETWEEN ?2 AND ?3 '
        'UNION ALL SELECT "offset" FROM duplicate WHERE segment = ?1 AND "offset" BETWEEN ?2 AND ?3',
        (segment, first, last),
    )
    return {offset for (offset,) in found}


def _index_study(study_id: str, batch: list[IndexRow]) -> StudyArrivals:
    known = _know(study_id, batch)
    new: list[tuple[object, ...]] = []
    repeated: list[tuple[object, ...]] = []
    counted: dict[str, int] = {row.record.header.series_uid: 0 for row in batch}
    arrived = conflicts = 0
    for row in batch:
        record, header = row.record, row.record.header
        versions = known.versions.setdefault(header.sop_uid, {})
        if record.sha256 in versions:
            repeated.append(
                (study_id, header.sop_uid, record.segment, record.offset, record.length, header.association_id,
                 header.received_at)
            )  # fmt: skip
            continue
        is_first = not versions
        versions[record.sha256] = is_first
        arrived += is_first
        conflicts += not is_first
        counted[header.series_uid] += is_first
        new.append(
            (study_id, header.series_uid, header.sop_uid, header.sop_class_uid, header.transfer_syntax_uid,
             record.size_bytes, record.sha256, record.key_id, record.segment, record.offset, record.length,
             known.arriving_revision, len(versions), int(is_first), header.association_id, header.calling_aet,
             header.called_aet, header.received_at, _facts_only(header.facts_json))
        )  # fmt: skip
    change_many(_INSERT_INSTANCE, new)
    if repeated:
        change_many(_INSERT_DUPLICATE, repeated)
    _count_series(study_id, batch, counted)
    _count_study(study_id, batch, arrived, conflicts)
    _complete_keys(study_id, batch)
    return StudyArrivals(arrived, len(repeated), conflicts, known.deleted and arrived > 0)


def _facts_only(facts_json: str) -> str:
    """Leave the identifiers out: they are kept once a study, sealed."""
    try:
        return json.dumps(json.loads(facts_json).get("facts", {}), separators=(",", ":"))
    except (ValueError, AttributeError):
        return "{}"


def _know(study_id: str, batch: list[IndexRow]) -> _Known:
    found = query("SELECT status, revision, deleted FROM study WHERE id = ?", (study_id,))
    if not found:
        _create_study(study_id, batch)
        return _Known(StudyStatus.RECEIVING, 1, deleted=False, versions={})
    versions: dict[str, dict[str, bool]] = {}
    uids = list({row.record.header.sop_uid for row in batch})
    for start in range(0, len(uids), 500):
        part = uids[start : start + 500]
        marks = ",".join("?" * len(part))
        for sop_uid, sha256, active in query(
            f"SELECT sop_uid, sha256, active FROM instance WHERE study_id = ? AND sop_uid IN ({marks})",  # noqa: S608
            (study_id, *part),
        ):
            versions.setdefault(sop_uid, {})[sha256] = bool(active)
    status, revision, deleted = found[0]
    return _Known(StudyStatus(status), revision, bool(deleted), versions)


def _create_study(study_id: str, batch: list[IndexRow]) -> None:
    first = batch[0]
    at = min(row.record.header.received_at for row in batch)
    change(
        "INSERT INTO study (id, study_uid, status, revision, held, needs_review, incomplete, conflict, "
        "quarantined, deleted, "
        "patient, identifiers, study_date, study_time, modality, description, description_identifies, source_aet, "
        "series_received, instances_received, first_arrival_at, last_arrival_at, completeness_json, qc_done, qc_total, "
        "upload_done_bytes, upload_total_bytes, upload_done_objects, upload_total_objects, "
        "upload_problem, cloud_progress, "
        "crashes, status_at, updated_at) "
        "VALUES (?,?,?,1,0,0,0,0,0,0,?,?,'','','','',0,?,0,0,?,?,'[]',0,0,0,0,0,0,'',0,0,?,?)",
        (study_id, first.record.header.study_uid, StudyStatus.RECEIVING.value, first.patient, first.identifiers_sealed,
         first.record.header.calling_aet, at, at, at, at),
    )  # fmt: skip
    change(
        "INSERT INTO history (study_id, revision, from_status, to_status, trigger, by, at, detail_json) "
        "VALUES (?,1,NULL,?,?,'agent',?,'{}')",
        (study_id, StudyStatus.RECEIVING.value, Trigger.INSTANCE_ARRIVED.value, at),
    )


def _count_series(study_id: str, batch: list[IndexRow], counted: dict[str, int]) -> None:
    latest = {row.record.header.series_uid: row for row in batch}
    change_many(
        _UPSERT_SERIES,
        [
            (study_id, uid, row.facts.modality, row.facts.series_description, row.facts.series_number, counted[uid],
             row.record.header.received_at)
            for uid, row in latest.items()
        ],
    )  # fmt: skip


def _count_study(study_id: str, batch: list[IndexRow], arrived: int, conflicts: int) -> None:
    facts = {
        name: next((v for row in batch if (v := getattr(row.facts, name))), "")
        for name in ("study_date", "study_time", "study_description")
    }
    modalities = query("SELECT DISTINCT modality FROM series WHERE study_id = ? AND modality <> ''", (study_id,))
    change(
        "UPDATE study SET instances_received = instances_received + ?, "
        "series_received = (SELECT count(*) FROM series WHERE study_id = ?), modality = ?, "
        "study_date = CASE WHEN study_date = '' THEN ? ELSE study_date END, "
        "study_time = CASE WHEN study_time = '' THEN ? ELSE study_time END, "
        "description = CASE WHEN description = '' THEN ? ELSE description END, "
        "description_identifies = max(description_identifies, ?), "
        "patient = CASE WHEN patient = '' THEN ? ELSE patient END, identifiers = coalesce(identifiers, ?), "
        "conflict = max(conflict, ?), last_arrival_at = max(last_arrival_at, ?), updated_at = max(updated_at, ?) "
        "WHERE id = ?",
        (
            arrived, study_id, "\\".join(sorted(m for (m,) in modalities)), facts["study_date"], facts["study_time"],
            facts["study_description"], int(any(row.description_identifies for row in batch)),
            next((row.patient for row in batch if row.patient), ""), batch[0].identifiers_sealed, int(conflicts > 0),
            max(row.record.header.received_at for row in batch), time.time(), study_id,
        ),
    )  # fmt: skip


def _complete_keys(study_id: str, batch: list[IndexRow]) -> None:
    """Name the study of a key whose hand-out was not committed before a crash."""
    for key_id in {row.record.key_id for row in batch}:
        change("UPDATE study_key SET study_id = ? WHERE key_id = ? AND study_id IS NULL", (study_id, key_id))


def _note_segments(fresh: list[IndexRow]) -> None:
    ends: dict[str, tuple[int, int]] = {}
    for row in fresh:
        count, end = ends.get(row.record.segment, (0, 0))
        ends[row.record.segment] = (count + 1, max(end, row.record.offset + row.record.length))
    change_many(_UPSERT_SEGMENT, [(name, count, end) for name, (count, end) in ends.items()])
