"""What is read from headers: the scanner agrees with pydicom, the vendors' private elements are found, limits hold."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from agent.dicom.contexts import DEFLATED_LE, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from agent.dicom.facts import HeaderFacts, PatientIdentifiers, read_facts
from agent.dicom.raw_association import read_part10
from agent.errors import BadDataset
from tests.dicom_files import as_part10, make_image


def _encoded(tmp_path: Path, ds: Dataset, syntax: str) -> bytes:
    path = tmp_path / "x.dcm"
    path.write_bytes(as_part10(ds, syntax))
    return path.read_bytes()[read_part10(path).offset :]


def _facts(path: Path) -> tuple:
    file = read_part10(path)
    return read_facts(path.read_bytes()[file.offset :], file.transfer_syntax_uid)


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE, DEFLATED_LE])
def test_facts_are_the_same_in_every_encoding(tmp_path: Path, syntax: str) -> None:
    ds = make_image(sop_uid="1.2.3.4", study_uid="1.2.3", series_uid="1.2.3.1", NumberOfFrames="2", EchoTime="85.5")
    if syntax == EXPLICIT_BE:
        ds["PixelData"].VR = "OW"
    raw = _encoded(tmp_path, ds, syntax)
    uids, facts, identifiers = read_facts(raw, syntax)
    assert (uids.study, uids.series, uids.sop) == ("1.2.3", "1.2.3.1", "1.2.3.4")
    assert (facts.rows, facts.columns, facts.number_of_frames) == (32, 32, 2)
    assert facts.position == (0.0, 0.0, 2.0)
    assert facts.orientation == (1, 0, 0, 0, 1, 0)
    assert facts.image_type == ("ORIGINAL", "PRIMARY", "M")
    assert facts.echo_time == 85.5
    assert (identifiers.patient_id, identifiers.patient_name) == ("TEST-0001", "Test^Case")


def test_json_round_trip_and_no_identifier_in_the_facts(tmp_path: Path) -> None:
    raw = _encoded(tmp_path, make_image(patient_id="SECRET77", patient_name="Secret^Name"), EXPLICIT_LE)
    _, facts, identifiers = read_facts(raw, EXPLICIT_LE)
    assert HeaderFacts.from_json(facts.to_json()) == facts
    assert PatientIdentifiers.from_json(identifiers.to_json()) == identifiers
    zeros = HeaderFacts(b_value=0.0, series_number=0, position=(0.0, 0.0, 0.0), instance_number=0)
    assert HeaderFacts.from_json(zeros.to_json()) == zeros
    assert "Secret" not in facts.to_json()
    assert "SECRET77" not in facts.to_json()
    assert set(identifiers.values()) >= {"SECRET77", "Secret^Name", "19600102", "ACC0001"}


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_scanner_and_pydicom_agree_on_every_real_file(real_data: Path) -> None:
    seen = 0
    for path in sorted(real_data.rglob("*")):
        if not path.is_file() or "malformed" in path.parts:
            continue
        try:
            file = read_part10(path)
        except BadDataset:
            continue
        if file.sop_class_uid == "1.2.840.10008.1.3.10":
            continue
        uids, facts, identifiers = _facts(path)
        ds = pydicom.dcmread(path, stop_before_pixels=True)
        assert uids.sop == ds.SOPInstanceUID
        assert uids.sop_class == ds.SOPClassUID
        assert facts.study_uid_is_made == (not ds.get("StudyInstanceUID"))
        assert facts.rows == ds.get("Rows")
        assert facts.instance_number == (int(ds.InstanceNumber) if ds.get("InstanceNumber") is not None else None), path
        assert (facts.series_description or "") == str(ds.get("SeriesDescription", "") or ""), path
        position = ds.get("ImagePositionPatient")
        assert facts.position == (tuple(float(v) for v in position) if position else None), path
        assert identifiers.patient_id == str(ds.get("PatientID", "") or "").strip(), path
        seen += 1
    assert seen > 800


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("mr_brain_dwi/philips_achieva_dti_16dir",
         {"philips_slices": 40, "philips_b_values": 2, "philips_gradient_orientations": 16, "b_value": {0.0, 2000.0}}),
        ("mr_brain_dwi/uih_umr770_dti_16dir", {"uih_tiles": 20}),
        ("mr_other/siemens_skyra_epi_mosaic", {"siemens_mosaic": 5}),
        ("mr_other/ge_mr750_fmri_epi", {"ge_locations": 15, "images_in_acquisition": 15, "b_value": {None}}),
        ("enhanced_multiframe/siemens_xa30/12_dwi_tracew", {"number_of_frames": 39, "frame_items": 39}),
        ("enhanced_multiframe/philips_achieva", {"number_of_frames": 32}),
    ],
)  # fmt: skip
def test_vendor_elements_are_found_by_their_creator(real_data: Path, folder: str, expected: dict) -> None:
    files = [p for p in sorted((real_data / folder).rglob("*")) if p.is_file() and p.read_bytes()[128:132] == b"DICM"]
    facts = [_facts(p)[1] for p in files]
    for name, value in expected.items():
        found = {getattr(f, name) for f in facts}
        assert found == (value if isinstance(value, set) else {value}), name


def test_uih_b_values_and_directions(real_data: Path) -> None:
    files = [p for p in (real_data / "mr_brain_dwi/uih_umr770_dti_16dir").rglob("*.dcm")]
    facts = [_facts(p)[1] for p in files]
    assert sum(1 for f in facts if f.b_value and f.b_value > 500) == 16
    assert all(f.gradient for f in facts if f.b_value and f.b_value > 500)


def test_a_deflated_bomb_is_inflated_by_a_megabyte_only(tmp_path: Path) -> None:
    raw = _encoded(tmp_path, make_image(sop_uid="1.2.3"), EXPLICIT_LE)
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = bomb.compress(raw[:-2052]) + bomb.compress(b"\0" * 200_000_000) + bomb.flush()
    uids, _, _ = read_facts(data, DEFLATED_LE)
    assert uids.sop == "1.2.3"


def test_sequences_nested_ten_thousand_deep_are_no_recursion(tmp_path: Path) -> None:
    raw = _encoded(tmp_path, make_image(), EXPLICIT_LE)
    opening = bytes.fromhex("08004011") + b"SQ\0\0\xff\xff\xff\xff" + bytes.fromhex("feff00e0") + b"\xff\xff\xff\xff"
    at = raw.index(bytes.fromhex("10001000") + b"PN")
    with pytest.raises(BadDataset):
        read_facts(raw[:at] + opening * 10_000 + raw[at:], EXPLICIT_LE)


def test_an_object_without_study_uid_becomes_a_study_of_its_own(tmp_path: Path) -> None:
    raw = _encoded(tmp_path, make_image(sop_uid="1.2.3", StudyInstanceUID=None, SeriesInstanceUID=None), EXPLICIT_LE)
    uids, facts, _ = read_facts(raw, EXPLICIT_LE)
    assert uids.study.startswith("2.25.") and uids.series.startswith("2.25.") and uids.study != uids.series
    assert facts.study_uid_is_made and facts.series_uid_is_made
    assert read_facts(raw, EXPLICIT_LE)[0] == uids


def test_private_elements_of_another_creator_are_not_taken(tmp_path: Path) -> None:
    ds = make_image()
    block = ds.private_block(0x2001, "Somebody Else", create=True)
    block.add_new(0x18, "SL", 40)
    _, facts, _ = read_facts(_encoded(tmp_path, ds, EXPLICIT_LE), EXPLICIT_LE)
    assert facts.philips_slices is None


def test_sequences_are_skipped_whatever_their_length(tmp_path: Path) -> None:
    ds = make_image(sop_uid="1.2.9")
    inner = Dataset()
    inner.PatientID = "INNER"
    inner.ReferencedSOPInstanceUID = "9.9.9"
    ds.ReferencedStudySequence = Sequence([inner])
    ds["ReferencedStudySequence"].is_undefined_length = True
    _, _, identifiers = read_facts(_encoded(tmp_path, ds, EXPLICIT_LE), EXPLICIT_LE)
    assert identifiers.patient_id == "TEST-0001"


def test_truncated_headers_are_not_understood(tmp_path: Path) -> None:
    raw = _encoded(tmp_path, make_image(), EXPLICIT_LE)
    with pytest.raises(BadDataset):
        read_facts(raw[:60], EXPLICIT_LE)
    with pytest.raises(BadDataset):
        read_facts(b"", EXPLICIT_LE)
    uids, _, _ = read_facts(raw[:-500], EXPLICIT_LE)
    assert uids.sop


def test_character_sets_are_decoded(real_data: Path) -> None:
    for name, expected in (
        ("chrH31.dcm", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("chrRuss.dcm", "Люкceмбypг"),
        ("chrFren.dcm", "Buc^Jérôme"),
    ):
        path = next(real_data.rglob(name))
        assert _facts(path)[2].patient_name == expected
    assert struct.calcsize("<H") == 2
