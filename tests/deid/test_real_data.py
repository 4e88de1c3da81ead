"""Real objects: clean and unharmed, or left out with a reason."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from agent.deid.part10 import split_part10
from agent.deid.pseudonyms import PseudonymKeys
from agent.deid.worker import DeidentifiedObject, deidentify_bytes
from agent.errors import DeidError
from tests.conftest import require

# Attributes that describe geometry, the sequence and diffusion: what an analysis needs.
MUST_SURVIVE = """
ImageType Modality SOPClassUID Manufacturer ManufacturerModelName BodyPartExamined ScanningSequence SequenceVariant ScanOptions
MRAcquisitionType SliceThickness KVP RepetitionTime EchoTime InversionTime NumberOfAverages ImagingFrequency ImagedNucleus
EchoNumbers MagneticFieldStrength SpacingBetweenSlices NumberOfPhaseEncodingSteps EchoTrainLength PercentSampling
PercentPhaseFieldOfView PixelBandwidth SoftwareVersions ReconstructionDiameter AcquisitionMatrix InPlanePhaseEncodingDirection
FlipAngle SAR dBdt PatientPosition DiffusionBValue DiffusionGradientOrientation DiffusionDirectionality AcquisitionDuration
InstanceNumber SeriesNumber AcquisitionNumber ImagePositionPatient ImageOrientationPatient SliceLocation TemporalPositionIdentifier
NumberOfTemporalPositions TemporalResolution SamplesPerPixel PhotometricInterpretation NumberOfFrames Rows Columns PixelSpacing
BitsAllocated BitsStored HighBit PixelRepresentation SmallestImagePixelValue LargestImagePixelValue WindowCenter WindowWidth
RescaleIntercept RescaleSlope LossyImageCompression ExposureTime XRayTubeCurrent Exposure ConvolutionKernel GantryDetectorTilt
TableHeight RotationDirection DataCollectionDiameter DistanceSourceToDetector DistanceSourceToPatient CTDIvol RevolutionTime
SingleCollimationWidth TotalCollimationWidth TableSpeed SpiralPitchFactor EffectiveEchoTime StackID InStackPositionNumber
TemporalPositionIndex DimensionIndexValues FrameType PixelPresentation VolumetricProperties AcquisitionContrast
ComplexImageComponent MRAcquisitionFrequencyEncodingSteps ResonantNucleus ParallelAcquisition ParallelReductionFactorInPlane
EchoPulseSequence EchoPlanarPulseSequence PatientSex PatientAge PatientWeight PixelPaddingValue
""".split()


def dicom_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix not in (".md", ".txt"):
            yield path


def every_value(ds: Dataset, path: str = "") -> Iterator[tuple[str, str]]:
    for element in ds:
        if element.tag.is_private:
            continue
        if element.keyword == "ReferencedPerformedProcedureStepSequence":
            continue  # Table E.1-1 empties it
        if element.VR == "SQ":
            for number, item in enumerate(element.value):
                yield from every_value(item, f"{path}{element.keyword}[{number}].")
        elif element.keyword in MUST_SURVIVE:
            yield path + element.keyword, str(element.value)


def deidentify(path: Path, keys: PseudonymKeys) -> DeidentifiedObject:
    data, syntax = split_part10(path.read_bytes())
    return deidentify_bytes(data, syntax, keys, "basic")


def read(source: Path | BytesIO) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dcmread(source, force=True)


def test_every_object_is_clean_or_left_out_and_what_an_analysis_needs_survives(
    real_data: Path, keys: PseudonymKeys
) -> None:
    kept = lost = cleaned = excluded = 0
    missing: dict[str, int] = {}
    for path in dicom_files(real_data):
        if path.parent.name == "philips_achieva_dti_16dir" and int(path.stem) % 10:
            continue  # 680 slices of one series: every tenth
        try:
            done = deidentify(path, keys)
        except DeidError as error:
            assert error.code == "deid_unreadable", path  # not DICOM at all
            continue
        if done.excluded_because:
            assert done.data == b"" and done.excluded_because.endswith(".")
            excluded += 1
            continue
        cleaned += 1
        before, after = read(path), read(BytesIO(done.data))
        assert after.SOPInstanceUID == after.file_meta.MediaStorageSOPInstanceUID != before.SOPInstanceUID
        if before.get("PixelData") != after.get("PixelData"):
            np.testing.assert_array_equal(before.pixel_array, after.pixel_array, err_msg=str(path))
        values = dict(every_value(after))
        for place, value in every_value(before):
            survived = values.get(place) == value
            kept, lost = kept + survived, lost + (not survived)
            if not survived:
                missing[place] = missing.get(place, 0) + 1
    assert cleaned > 220 and excluded > 40
    assert kept / (kept + lost) >= 0.995, sorted(missing.items(), key=lambda item: -item[1])[:20]


def private_values(ds: Dataset, creator: str, group: int, elements: tuple[int, ...]) -> list[object]:
    block = ds.private_block(group, creator)
    return [block[low].value if low in block else None for low in elements]


@pytest.mark.parametrize(
    ("folder", "creator", "group", "elements"),
    [
        ("mr_brain_dwi/philips_achieva_dti_16dir", "Philips Imaging DD 001", 0x2001, (0x03, 0x04, 0x18)),
        ("mr_brain_dwi/philips_achieva_dti_16dir", "Philips MR Imaging DD 001", 0x2005, (0xB0, 0xB1, 0xB2)),
        ("mr_brain_dwi/philips_achieva_dti_16dir", "Philips MR Imaging DD 005", 0x2005, (0x12, 0x13, 0x14, 0x15)),
        ("mr_brain_dwi/uih_umr770_dti_16dir", "Image Private Header", 0x0065, (0x09, 0x37, 0x50)),
        ("mr_other/ge_mr750_fmri_epi", "GEMS_PARM_01", 0x0043, (0x39,)),
    ],
)
def test_diffusion_elements_of_the_vendors_survive(
    folder: str, creator: str, group: int, elements: tuple[int, ...], real_data: Path, keys: PseudonymKeys
) -> None:
    compared = 0
    paths = list(dicom_files(real_data / folder))
    for path in paths[:: max(1, len(paths) // 12)]:
        before, after = read(path), read(BytesIO(deidentify(path, keys).data))
        assert private_values(after, creator, group, elements) == private_values(before, creator, group, elements)
        compared += 1
    assert compared > 2


def test_uih_tiles_keep_their_positions_and_nothing_else_private(real_data: Path, keys: PseudonymKeys) -> None:
    path = next(dicom_files(real_data / "mr_brain_dwi" / "uih_umr770_dti_16dir"))
    before, after = read(path), read(BytesIO(deidentify(path, keys).data))
    tiles_before, tiles_after = before[0x00651051].value, after[0x00651051].value
    assert len(tiles_after) == len(tiles_before) == 20
    assert [t[0x00651015].value for t in tiles_after] == [t[0x00651015].value for t in tiles_before]
    assert {int(e.tag) for t in tiles_after for e in t if e.tag.is_private} == {0x00651015}


def test_siemens_and_ge_diffusion_elements_survive_and_csa_goes(keys: PseudonymKeys) -> None:
    from tests.deid.planted import EXPLICIT, encode, set_raw
    from tests.dicom_files import make_image

    ds = make_image()
    set_raw(ds, 0x00190010, "LO", "SIEMENS MR HEADER")
    set_raw(ds, 0x0019100A, "US", 64)
    set_raw(ds, 0x0019100C, "IS", "1000")
    set_raw(ds, 0x0019100D, "CS", "DIRECTIONAL")
    set_raw(ds, 0x0019100E, "FD", [0.6, -0.8, 0.0])
    set_raw(ds, 0x00191027, "FD", [1.0, 0.5, 0.25, 2.0, 0.5, 3.0])
    set_raw(ds, 0x00190011, "LO", "GEMS_ACQU_01")
    for low, value in ((0xBB, "0.5"), (0xBC, "-0.5"), (0xBD, "0.7"), (0xE0, "25")):
        set_raw(ds, 0x00191100 | low, "DS", value)
    set_raw(ds, 0x00290010, "LO", "SIEMENS CSA HEADER")
    set_raw(ds, 0x00291010, "OB", b"SV10 patient name here")
    after = read(BytesIO(deidentify_bytes(encode(ds, EXPLICIT), EXPLICIT, keys, "basic").data))
    for tag in (
        0x0019100A,
        0x0019100C,
        0x0019100D,
        0x0019100E,
        0x00191027,
        0x001911BB,
        0x001911BC,
        0x001911BD,
        0x001911E0,
    ):
        assert after[tag].value == ds[tag].value
    assert not any(e.tag.group == 0x0029 for e in after)


def test_enhanced_frames_keep_b_values_and_gradients(real_data: Path, keys: PseudonymKeys) -> None:
    paths = list(dicom_files(real_data / "enhanced_multiframe"))
    assert len(paths) == 3
    for path in paths:
        before, after = read(path), read(BytesIO(deidentify(path, keys).data))
        a, b = (
            [v for v in every_value(ds) if "Diffusion" in v[0] or "Plane" in v[0] or "FrameContent" in v[0]]
            for ds in (before, after)
        )
        assert a and a == b


@pytest.mark.parametrize("dates", ["shift", "remove", "keep"])
def test_a_study_with_a_planted_person_gives_nothing_away(
    dates: str, shared_folder: Path, real_data: Path, keys: PseudonymKeys, tmp_path: Path
) -> None:
    source = real_data / "mr_brain_dwi" / "uih_umr770_dti_16dir"
    told = subprocess.run(
        [sys.executable, str(shared_folder / "tools" / "degrade.py"), "phi", str(source), str(tmp_path / "phi"), "--seed", "5"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    require(told.returncode == 0, f"degrade.py does not run here: {told.stderr[-300:]}")
    truth = json.loads(told.stdout)["truth"]
    words = [w.lower().encode() for w in truth["search_strings_any_case"]]
    chosen = PseudonymKeys(keys.secret, 1, "ANON", dates)
    files = list(dicom_files(tmp_path / "phi"))
    pseudonyms = set()
    for path in files[:6]:
        done = deidentify(path, chosen)
        assert done.excluded_because is None
        folded = done.data.lower()
        assert [w for w in words if w in folded] == []
        pseudonyms.add(read(BytesIO(done.data)).PatientID)
    assert len(pseudonyms) == 1


def test_intervals_between_studies_and_references_between_series_hold(keys: PseudonymKeys) -> None:
    from datetime import date

    from tests.deid.planted import EXPLICIT, encode
    from tests.dicom_files import make_series

    first = make_series(2, patient_id="P1", StudyDate="20240110")
    second = make_series(2, patient_id="P1", StudyDate="20240301")
    second[0].ReferencedImageSequence = [Dataset()]
    second[0].ReferencedImageSequence[0].ReferencedSOPInstanceUID = first[0].SOPInstanceUID
    out = [
        read(BytesIO(deidentify_bytes(encode(ds, EXPLICIT), EXPLICIT, keys, "basic").data)) for ds in (*first, *second)
    ]
    days = [date.fromisoformat(f"{ds.StudyDate[:4]}-{ds.StudyDate[4:6]}-{ds.StudyDate[6:]}") for ds in out]
    assert (days[2] - days[0]).days == (date(2024, 3, 1) - date(2024, 1, 10)).days
    assert days[0] < date(2024, 1, 10) and days[0].weekday() == date(2024, 1, 10).weekday()
    assert out[2].ReferencedImageSequence[0].ReferencedSOPInstanceUID == out[0].SOPInstanceUID
    assert out[0].StudyInstanceUID == out[1].StudyInstanceUID != out[2].StudyInstanceUID
