"""Judging in a worker: measurements as rows hold them, objects read again from encrypted segments only for pictures."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from agent.errors import ConfigError
from agent.qc.judge_worker import JudgeTask, judge_objects
from agent.store.keys import StudyKey
from agent.store.objects import ObjectRef
from agent.store.segments import RecordHeader, SegmentWriter
from tests.dicom_files import as_part10
from tests.qc.studies import measured, t1_series

SYNTAX = "1.2.840.10008.1.2.1"


def task_in(folder: Path, **changes: object) -> JudgeTask:
    series = t1_series(6)
    key = StudyKey("00112233aabbccdd", "study", os.urandom(32))
    writer = SegmentWriter(folder, "r1", segment_bytes=4 << 20, sync=False)
    refs = []
    for number, ds in enumerate(series):
        data = as_part10(ds)
        start = 144 + int.from_bytes(data[140:144], "little")
        header = RecordHeader(
            ds.StudyInstanceUID,
            ds.SeriesInstanceUID,
            ds.SOPInstanceUID,
            ds.SOPClassUID,
            SYNTAX,
            "A",
            "B",
            "a1",
            1.0,
            "{}",
        )
        record = writer.append(key, header, [data[start:]])
        refs.append(
            ObjectRef(
                number, record.segment, record.offset, record.length, record.key_id, record.size_bytes, record.sha256,
                ds.SOPClassUID, ds.SOPInstanceUID, ds.SeriesInstanceUID, SYNTAX,
            )
        )  # fmt: skip
    writer.close()
    values: dict[str, object] = {
        "segments": folder, "secrets": {key.key_id: key.secret}, "objects": tuple(refs),
        "measurements": tuple(m.to_json() for m in measured(series)),
    }  # fmt: skip
    return JudgeTask(**{**values, **changes})  # type: ignore[arg-type]


def test_a_study_is_judged_with_pictures(tmp_path: Path) -> None:
    judged = judge_objects(task_in(tmp_path))
    assert (judged.report.profile, judged.report.verdict) == ("mr-brain", "pass")
    assert [p.png[:4] for p in judged.pictures] == [b"\x89PNG"]
    assert pickle.loads(pickle.dumps(judged)).report.verdict == "pass"


def test_objects_that_cannot_be_read_again_cost_only_the_pictures(tmp_path: Path) -> None:
    task = task_in(tmp_path)
    for path in tmp_path.glob("*.seg"):
        path.write_bytes(b"")
    judged = judge_objects(task)
    assert (judged.report.verdict, judged.pictures) == ("pass", ())


def test_a_profile_that_does_not_exist_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        judge_objects(task_in(tmp_path, profile="nothing"))


def test_the_secrets_are_not_shown(tmp_path: Path) -> None:
    task = task_in(tmp_path)
    assert repr(next(iter(task.secrets.values()))) not in repr(task)
