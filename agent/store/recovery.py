"""Recovery and verification of the store.

Job: after a crash, find what segments hold and the index does not, cut what was never acknowledged, and name what is
damaged; on demand, decrypt everything and compare. Place: recovery is run by the engine at start and for a dead
receiver; verification by the command line beside a running agent. It must never cut or drop bytes below a watermark,
nor touch a file whose writer lives.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from agent.errors import IntegrityError
from agent.logs import get_logger
from agent.store.database import change, query, transact
from agent.store.keys import Keyring, all_secrets
from agent.store.objects import ObjectReader
from agent.store.segments.commit import sync_folder
from agent.store.segments.file import write_fully
from agent.store.segments.record import FILE_HEADER_BYTES, FOOTER, FRAME_BYTES, RECORD, VOID, Frame, StoredRecord
from agent.store.segments.scan import Scan, has_data_behind, locked, scan_file
from agent.store.studies.index import indexed_offsets
from agent.store.studies.rows import read_instance

BATCH = 200

log = get_logger("store")


@dataclass(frozen=True, slots=True)
class Damage:
    """A place that was durable and cannot be read any more."""

    segment: str
    offset: int
    length: int
    code: str


@dataclass(slots=True)
class RecoveryReport:
    """What a recovery found.

    Attributes
    ----------
    records : list of StoredRecord
        Durable but not indexed; empty when they were handed to a callback.
    found : int
        How many those are.
    torn : int
        Records that were under way and never acknowledged; they were cut or made void.
    damaged : int
        Places that were durable and cannot be read; left as they are.
    shredded : int
        Records of studies that were deleted.
    live : int
        Files passed over because their writer lives.
    """

    records: list[StoredRecord] = field(default_factory=list)
    found: int = 0
    torn: int = 0
    damaged: int = 0
    shredded: int = 0
    live: int = 0
    segments: int = 0
    damage: list[Damage] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class BadObject:
    """An object that verification could not read."""

    instance_id: int
    study_id: str
    code: str


@dataclass(slots=True)
class VerifyReport:
    """What a verification found."""

    objects: int = 0
    bad: int = 0
    size_bytes: int = 0
    bad_objects: list[BadObject] = field(default_factory=list)
    cut_segments: list[str] = field(default_factory=list)


def recover(
    folder: Path,
    keyring: Keyring,
    *,
    only: str | None = None,
    on_records: Callable[[Sequence[StoredRecord]], None] | None = None,
) -> RecoveryReport:
    """Find durable records that are not indexed, and tidy what a crash left.

    Run it again at any time: what is indexed is passed over.

    Parameters
    ----------
    folder : Path
        The folder of segments.
    keyring : Keyring
        Unwraps the data keys of the process's database.
    only : str, optional
        The name of one dead segment writer; without it, every file whose writer is gone.
    on_records : callable, optional
        Takes the records in batches of 200 as they are found and indexes them, so that memory stays bounded; without
        it they
        are collected in the report.

    Returns
    -------
    RecoveryReport
        Records, torn and damaged places.
    """
    report = RecoveryReport()
    secrets = all_secrets(keyring)
    settled = dict(query("SELECT name, end_bytes FROM segment WHERE settled"))
    batch: list[StoredRecord] = []

    def take(record: StoredRecord | None) -> None:
        if record is not None:
            report.found += 1
            batch.append(record)
        if on_records is not None and batch and (record is None or len(batch) >= BATCH):
            on_records(tuple(batch))
            batch.clear()

    with ObjectReader(folder, secrets) as reader:
        for path in sorted(folder.glob(f"{only}-*.seg" if only else "*.seg")):
            if path.name in settled:
                if path.stat().st_size < settled[path.name]:
                    _note_damage(report, Damage(path.name, path.stat().st_size, 0, "segment_cut"))
                continue
            recovery = _FileRecovery(path, secrets, reader, report)
            for record in recovery.run():
                take(record)
            take(None)
    report.records = batch
    for name, end in settled.items():
        if only is None and not (folder / name).exists():
            _note_damage(report, Damage(name, 0, end, "segment_missing"))
    return report


def _note_damage(report: RecoveryReport, damage: Damage) -> None:
    report.damaged += 1
    report.damage.append(damage)
    log.error("store_damage", segment=damage.segment, offset=damage.offset, length=damage.length, reason=damage.code)


class _FileRecovery:
    """Recovery of one file."""

    def __init__(self, path: Path, secrets: dict[str, bytes], reader: ObjectReader, report: RecoveryReport) -> None:
        self._path = path
        self._name = path.name
        self._secrets = secrets
        self._reader = reader
        self._report = report
        self._torn: list[Frame] = []
        self._is_damaged = False

    def run(self) -> Iterator[StoredRecord]:
        """Yield what is durable and not indexed; then close the file."""
        with locked(self._path, write=True) as descriptor:
            if descriptor is None:
                self._report.live += self._path.exists()
                return
            self._report.segments += 1
            scan = scan_file(descriptor, self._name)
            indexed = indexed_offsets(self._name)
            if scan.binding is None:
                self._without_start(descriptor, scan, indexed)
                return
            unindexed = 0
            for frame in scan.frames:
                if frame.kind != RECORD or frame.offset in indexed:
                    continue
                record = self._examine(scan, frame)
                if record is not None:
                    unindexed += 1
                    yield record
            self._judge_places(scan, indexed)
            if self._is_damaged:
                return
            if scan.footer is None:
                self._close(descriptor, scan)
            elif not unindexed:
                self._settle(scan)

    def _examine(self, scan: Scan, frame: Frame) -> StoredRecord | None:
        if frame.key_id not in self._secrets:
            self._report.shredded += 1
            return None
        was_durable = scan.footer is not None or frame.end <= scan.watermark
        try:
            opened = self._reader.open(self._name, frame.offset)
            if not was_durable:
                for _ in self._reader.payload(self._name, opened):
                    pass
        except IntegrityError as error:
            if was_durable:
                self._damage(frame.offset, frame.length, error.code)
            else:
                self._torn.append(frame)
            return None
        return StoredRecord(
            self._name, frame.offset, frame.length, frame.size_bytes, opened.sha256, frame.key_id, opened.header
        )

    def _judge_places(self, scan: Scan, indexed: set[int]) -> None:
        for gap in scan.gaps:
            if gap.offset < scan.watermark or scan.footer is not None:
                self._damage(gap.offset, gap.length, "record_frame")
        if scan.footer is not None and scan.is_cut_short and not scan.gaps:
            self._damage(scan.footer.offset, 0, "segment_count")
        known = {frame.offset for frame in scan.frames}
        gaps = [(gap.offset, gap.offset + gap.length) for gap in scan.gaps]
        for offset in sorted(indexed - known):
            if not any(start <= offset < end for start, end in gaps if start < scan.watermark or scan.footer):
                self._damage(offset, 0, "record_frame")

    def _damage(self, offset: int, length: int, code: str) -> None:
        self._is_damaged = True
        _note_damage(self._report, Damage(self._name, offset, length, code))

    def _without_start(self, descriptor: int, scan: Scan, indexed: set[int]) -> None:
        """Judge a file whose start cannot be read: a leftover of its creation when it holds nothing, else damage."""
        if indexed or (
            scan.size_bytes > FILE_HEADER_BYTES and has_data_behind(descriptor, FILE_HEADER_BYTES, scan.size_bytes)
        ):
            self._damage(0, scan.size_bytes, "segment_header")
        else:
            self._remove()

    def _close(self, descriptor: int, scan: Scan) -> None:
        """Cut the torn tail, make torn records between good ones void, and write the footer."""
        torn = {frame.offset for frame in self._torn}
        kept = list(scan.frames)
        while kept and kept[-1].offset in torn:
            kept.pop()
        end = kept[-1].end if kept else FILE_HEADER_BYTES
        tail = scan.frames[-1].end if scan.frames else FILE_HEADER_BYTES
        self._report.torn += len(self._torn)
        if not scan.frames and has_data_behind(descriptor, tail, scan.size_bytes):
            self._report.torn += 1
        if not any(frame.kind == RECORD for frame in kept if frame.offset not in torn):
            self._remove()
            return
        assert scan.binding is not None
        for frame in kept:
            if frame.offset in torn:
                write_fully(descriptor, replace(frame, kind=VOID).pack(scan.binding), frame.offset)
        os.ftruncate(descriptor, end)
        count = len(kept)
        footer = Frame(FOOTER, 0, count, end, end, count, "", bytes(16))
        write_fully(descriptor, footer.pack(scan.binding), end)
        os.fdatasync(descriptor)

    def _remove(self) -> None:
        self._path.unlink(missing_ok=True)
        sync_folder(self._path.parent)

    def _settle(self, scan: Scan) -> None:
        assert scan.footer is not None
        name, end = self._name, scan.footer.offset + FRAME_BYTES
        transact(
            lambda: change(
                "INSERT INTO segment (name, records, end_bytes, settled) VALUES (?,?,?,1) "
                "ON CONFLICT (name) DO UPDATE SET settled = 1, end_bytes = excluded.end_bytes",
                (name, len(scan.frames), end),
            )
        )


def verify(folder: Path, keyring: Keyring, *, on_progress: Callable[[int, int], None] | None = None) -> VerifyReport:
    """Decrypt every object that the index names and compare its SHA-256; beside a running agent.

    Parameters
    ----------
    folder : Path
        The folder of segments.
    keyring : Keyring
        Unwraps the data keys of the process's database.
    on_progress : callable, optional
        Told (objects done, objects in all).

    Returns
    -------
    VerifyReport
        Objects read, bad ones with the reason, segments that are shorter than what was indexed.
    """
    report = VerifyReport()
    total = query("SELECT count(*) FROM instance")[0][0]
    last: tuple[str, int] = ("", -1)
    while True:
        page = query(
            'SELECT id, segment, "offset" FROM instance WHERE (segment, "offset") > (?, ?) '
            'ORDER BY segment, "offset" LIMIT 500',
            last,
        )
        if not page:
            break
        with ObjectReader(folder, all_secrets(keyring)) as reader:
            for instance_id, _, _ in page:
                _verify_instance(reader, instance_id, report)
                if on_progress is not None:
                    on_progress(report.objects, total)
        last = (page[-1][1], page[-1][2])
    for name, end in query("SELECT name, end_bytes FROM segment ORDER BY name"):
        path = folder / name
        if not path.is_file() or path.stat().st_size < end:
            report.cut_segments.append(name)
    return report


def _verify_instance(reader: ObjectReader, instance_id: int, report: VerifyReport) -> None:
    row = read_instance(instance_id)
    if row is None:
        return  # deleted meanwhile
    digest = hashlib.sha256()
    code = ""
    try:
        for chunk in reader.chunks(row.ref()):
            digest.update(chunk)
        if digest.hexdigest() != row.sha256:
            code = "record_sha256"
    except IntegrityError as error:
        code = error.code
    if code and read_instance(instance_id) is None:
        return
    report.objects += 1
    report.size_bytes += row.size_bytes
    if code:
        report.bad += 1
        report.bad_objects.append(BadObject(instance_id, row.study_id, code))
