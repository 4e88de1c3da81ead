"""Everything real or damaged is measured without an exception and without NaN."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest
from pydicom import config
from pydicom.dataelem import DataElement

from agent.qc.image_headers import ImageHeaders
from agent.qc.measure import measure_bytes, measure_file
from agent.qc.measurement import REASONS, FrameNumbers, ImageMeasurement, NotComputable
from agent.qc.worker import MeasureTask, measure_objects
from agent.store.keys import StudyKey
from agent.store.objects import ObjectRef
from agent.store.segments.record import RecordHeader
from agent.store.segments.writer import SegmentWriter
from tests.dicom_files import as_part10, make_image

HEAVY = 25


def all_files(folder: Path) -> list[Path]:
    """Every file, but only some of folders that hold hundreds of alike."""
    files = []
    for directory in sorted({path.parent for path in folder.rglob("*") if path.is_file()}):
        found = sorted(path for path in directory.iterdir() if path.is_file() and path.suffix not in {".md", ".txt"})
        files += found if len(found) <= HEAVY else found[:: max(1, len(found) // HEAVY)]
    return files


def check(measurement: ImageMeasurement) -> None:
    assert ImageMeasurement.from_json(measurement.to_json()) == measurement
    assert len(measurement.frames) in (0, len(measurement.headers.frames))
    for frame in measurement.frames:
        if isinstance(frame, NotComputable):
            assert frame.sentence
            continue
        for name in FrameNumbers.__slots__:
            value = getattr(frame, name)
            assert not isinstance(value, float) or math.isfinite(value), name
            assert not isinstance(value, NotComputable) or value.reason in REASONS


def test_all_real_data_is_measured(real_data: Path):
    graded = 0
    for path in all_files(real_data):
        measurement = measure_file(path)
        check(measurement)
        graded += measurement.headers.is_image and isinstance(measurement.frames[0], FrameNumbers)
    assert graded > 100


def test_damaged_bytes_give_findings_and_no_exception(real_data: Path):
    rng = random.Random(20_261)
    sources = [p.read_bytes() for p in all_files(real_data / "compressed") if p.stat().st_size < 300_000]
    for number in range(120):
        raw = bytearray(rng.choice(sources))
        for _ in range(rng.choice((1, 10, 200))):
            raw[rng.randrange(132, len(raw))] = rng.randrange(256)
        if number % 3 == 0:
            del raw[rng.randrange(200, len(raw)) :]
        check(measure_bytes(bytes(raw), number, ImageHeaders()))


@pytest.mark.parametrize("size", [0, 1, 131, 132, 200, 5000])
def test_random_bytes_are_unreadable_or_empty(size: int):
    measurement = measure_bytes(random.Random(size).randbytes(size), 1, ImageHeaders())
    check(measurement)
    assert not measurement.headers.is_image


def test_stored_objects_are_measured_and_damage_is_a_finding(tmp_path: Path):
    key = StudyKey("k1", "s1", bytes(range(32)))
    writer = SegmentWriter(tmp_path, "r1", segment_bytes=4 << 20, sync=False)
    refs = []
    for number in range(3):
        ds = make_image(number=number + 1)
        raw = as_part10(ds)
        body = raw[132 + 12 + int.from_bytes(raw[140:144], "little") :]
        syntax = ds.file_meta.TransferSyntaxUID
        header = RecordHeader(
            ds.StudyInstanceUID,
            ds.SeriesInstanceUID,
            ds.SOPInstanceUID,
            ds.SOPClassUID,
            syntax,
            "A",
            "B",
            "1",
            0.0,
            "{}",
        )
        record = writer.append(key, header, [body])
        refs.append(
            ObjectRef(
                number,
                record.segment,
                record.offset,
                record.length,
                "k1",
                record.size_bytes,
                record.sha256 if number != 1 else "0" * 64,
                ds.SOPClassUID,
                ds.SOPInstanceUID,
                ds.SeriesInstanceUID,
                syntax,
            )  # fmt: skip
        )
    writer.close()
    rows = measure_objects(MeasureTask(tmp_path, {"k1": key.secret}, tuple(refs)))
    assert [row[0] for row in rows] == [0, 1, 2]
    good, bad, _ = (ImageMeasurement.from_json(row[2]) for row in rows)
    assert isinstance(good.frames[0], FrameNumbers)
    assert [problem.code for problem in bad.problems] == ["integrity"]
    assert bad.headers.sop_uid == refs[1].sop_uid
    assert json.loads(rows[0][2])["code"] == rows[0][1]
    assert key.secret.hex() not in repr(MeasureTask(tmp_path, {"k1": key.secret}, ()))
    assert str(key.secret) not in repr(MeasureTask(tmp_path, {"k1": key.secret}, ()))


def test_a_bad_value_is_never_quoted(caplog):
    ds = make_image()
    ds[0x00101010] = DataElement(0x00101010, "AS", "MARKEDNAME", validation_mode=config.IGNORE)
    ds[0x00200013] = DataElement(0x00200013, "LO", "MARKEDNAME", validation_mode=config.IGNORE)
    raw = as_part10(ds).replace(b"\x20\x00\x13\x00LO", b"\x20\x00\x13\x00IS")
    with caplog.at_level("DEBUG"):
        measurement = measure_bytes(raw, 1, ImageHeaders())
    assert measurement.headers.instance_number is None
    assert "MARKEDNAME" not in caplog.text
    assert "MARKEDNAME" not in measurement.to_json()
