"""A worker takes an object from the encrypted store and hands back what may leave."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread

from agent.deid.pseudonyms import PseudonymKeys, new_uid
from agent.deid.worker import DeidTask, deidentify_object
from agent.errors import DeidError, IntegrityError
from agent.store.segments import RecordHeader, SegmentWriter
from tests.deid.planted import EXPLICIT, encode
from tests.dicom_files import make_image
from tests.store.installation import a_key, ref_of


@pytest.fixture
def task(tmp_path: Path, keys: PseudonymKeys) -> Iterator[DeidTask]:
    """One stored image."""
    ds = make_image(patient_name="Ottokarsen^Wilhelmine")
    key = a_key()
    header = RecordHeader(
        ds.StudyInstanceUID,
        ds.SeriesInstanceUID,
        ds.SOPInstanceUID,
        ds.SOPClassUID,
        EXPLICIT,
        "PACS",
        "AGENT",
        "a1",
        1.0,
        "{}",
    )
    writer = SegmentWriter(tmp_path / "segments", "r1", segment_bytes=4 << 20)
    record = writer.append(key, header, [encode(ds, EXPLICIT)])
    writer.close()
    yield DeidTask(tmp_path / "segments", {key.key_id: key.secret}, ref_of(record, 42), keys, "basic", ("Ottokarsen",))


def test_a_stored_object_comes_back_clean(task: DeidTask, keys: PseudonymKeys) -> None:
    done = deidentify_object(pickle.loads(pickle.dumps(task)))
    assert done.instance_id == 42 and done.excluded_because is None
    assert done.sha256 == hashlib.sha256(done.data).hexdigest() and done.size_bytes == len(done.data)
    assert done.new_sop_uid == new_uid(keys, task.object.sop_uid) == dcmread(BytesIO(done.data)).SOPInstanceUID
    assert b"ttokarsen" not in done.data
    assert any(a.keyword == "PatientName" and a.action == "pseudonym" and a.count == 1 for a in done.actions)
    assert done == deidentify_object(task)


def test_what_is_pickled_and_shown_tells_nothing(task: DeidTask) -> None:
    shown = repr(task) + repr(deidentify_object(task).actions)
    assert "Ottokarsen" not in shown and task.keys.secret.decode() not in shown


def test_an_identifier_known_from_elsewhere_blocks_the_object(task: DeidTask) -> None:
    with pytest.raises(DeidError) as caught:
        deidentify_object(replace(task, known=("SYNTHETIC-7", "Profile basic", "agent profile")))
    assert caught.value.code == "outbound_hit"
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.code == "outbound_hit" and "profile" not in str(again)


def test_a_damaged_object_is_not_de_identified(task: DeidTask) -> None:
    segment = next(task.segments.glob("*.seg"))
    content = bytearray(segment.read_bytes())
    content[task.object.offset + task.object.length // 2] ^= 1
    segment.write_bytes(bytes(content))
    with pytest.raises(IntegrityError):
        deidentify_object(task)
