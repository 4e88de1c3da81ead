"""A folder is de-identified file by file; the report says what was done and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydicom import dcmread

from agent.deid.folder import deid_folder
from agent.deid.pseudonyms import PseudonymKeys, new_uid
from agent.errors import ConfigError
from tests.dicom_files import make_series, write_series


def test_names_of_files_and_folders_do_not_come_along(keys: PseudonymKeys, tmp_path: Path) -> None:
    source = tmp_path / "Ottokarsen_Wilhelmine"
    series = make_series(3, patient_name="Ottokarsen^Wilhelmine")
    write_series(source, series)
    (source / "Ottokarsen.txt").write_text("notes on Ottokarsen")
    seen: list[tuple[int, int]] = []
    report = deid_folder(source, tmp_path / "out", "basic", keys, lambda done, of: seen.append((done, of)))
    assert (report.files, report.written, len(report.not_dicom)) == (4, 3, 1)
    assert seen[-1] == (4, 4)
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {f"{new_uid(keys, ds.SOPInstanceUID)}.dcm" for ds in series}
    text = report.to_json()
    assert "ttokarsen" not in text and "TEST-0001" not in text and series[0].StudyInstanceUID not in text
    body = json.loads(text)
    assert {"tag": "(0010,0010)", "keyword": "PatientName", "action": "pseudonym", "count": 3} in body["actions"]


def test_two_objects_with_one_uid_are_both_written(keys: PseudonymKeys, tmp_path: Path) -> None:
    series = make_series(1)
    write_series(tmp_path / "a" / "one", series)
    write_series(tmp_path / "a" / "two", series)
    report = deid_folder(tmp_path / "a", tmp_path / "out", "basic", keys)
    assert report.written == len(list((tmp_path / "out").iterdir())) == 2


def test_a_file_without_file_meta_information_is_read(keys: PseudonymKeys, tmp_path: Path) -> None:
    from tests.deid.planted import BIG, EXPLICIT, IMPLICIT, encode

    (tmp_path / "a").mkdir()
    for name, syntax in (("1", EXPLICIT), ("2", IMPLICIT), ("3", BIG)):
        (tmp_path / "a" / name).write_bytes(encode(make_series(1)[0], syntax))
    assert deid_folder(tmp_path / "a", tmp_path / "out", "basic", keys).written == 3
    assert all(dcmread(p).PatientIdentityRemoved == "YES" for p in (tmp_path / "out").iterdir())


def test_an_output_that_is_not_empty_or_lies_inside_is_refused(keys: PseudonymKeys, tmp_path: Path) -> None:
    write_series(tmp_path / "a", make_series(1))
    for out in (tmp_path / "a", tmp_path / "a" / "out"):
        with pytest.raises(ConfigError):
            deid_folder(tmp_path / "a", out, "basic", keys)
    with pytest.raises(ConfigError, match="nothing at"):
        deid_folder(tmp_path / "missing", tmp_path / "out", "basic", keys)
