"""Every layout and vendor gets one shape."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from agent.qc.image_headers import ImageHeaders
from agent.qc.measure import measure_dataset, measure_file
from agent.qc.measurement import ImageMeasurement
from agent.qc.reading.diffusion import read_diffusion
from agent.qc.reading.headers import read_headers
from tests.dicom_files import make_image


def ge_image(raw: int, **more: object) -> Dataset:
    ds = make_image(Manufacturer="GE MEDICAL SYSTEMS", ScanningSequence=["EP", "SE"], **more)
    ds.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x39, "IS", [str(raw), "8", "0", "0"])
    block = ds.private_block(0x0019, "GEMS_ACQU_01", create=True)
    for offset, part in ((0xBB, 0.6), (0xBC, 0.0), (0xBD, 0.8)):
        block.add_new(offset, "DS", str(part))
    return ds


@pytest.mark.parametrize(
    ("raw", "b_value"), [(1000, 1000.0), (1_000_001_000, 1000.0), (1_000_012_000, 12_000.0), (0, 0.0)]
)
def test_ge_bias_is_subtracted_and_nothing_else(raw, b_value):
    found = read_diffusion(ge_image(raw))
    assert (found.b_value, found.source) == (b_value, "ge")
    assert found.gradient == (None if b_value == 0 else pytest.approx((0.6, 0.0, 0.8)))
    assert found.gradient_frame == "image"


def test_an_image_without_diffusion_has_no_b_value():
    ds = ge_image(0)
    ds.ScanningSequence = "GR"
    assert read_diffusion(ds).b_value is None
    assert read_diffusion(make_image()).b_value is None


def test_private_elements_are_found_by_creator_and_not_by_number():
    ds = make_image(Manufacturer="SIEMENS")
    ds.private_block(0x0019, "SOMEBODY ELSE", create=True).add_new(0x0C, "IS", "77")
    ds.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0C, "IS", "1000")
    assert read_diffusion(ds).b_value == 1000.0
    del ds[0x0019, 0x0011]
    assert read_diffusion(ds).b_value is None


def test_philips_isotropic_images_say_so():
    ds = make_image(Manufacturer="Philips")
    block = ds.private_block(0x2001, "Philips Imaging DD 001", create=True)
    block.add_new(0x03, "FL", 1000.0)
    block.add_new(0x04, "CS", "I")
    found = read_diffusion(ds)
    assert (found.b_value, found.source, found.directionality) == (1000.0, "philips", "ISOTROPIC")


def test_nothing_that_identifies_a_patient_is_kept():
    ds = make_image(patient_id="SECRET-ID-4711", patient_name="Secretname^Person")
    ds.PatientBirthDate, ds.StationName, ds.DeviceSerialNumber = "19230401", "SECRETSTATION", "SECRETSERIAL"
    ds.AccessionNumber = "SECRETACC"
    text = measure_dataset(ds, 1).to_json()
    for secret in ("SECRET", "Secretname", "19230401"):
        assert secret not in text
    other = measure_dataset(make_image(patient_id="SECRET-ID-4711"), 2).headers.patient
    assert other.id_digest == read_headers(ds).patient.id_digest
    assert other.id_digest != read_headers(make_image(patient_id="other")).patient.id_digest


@pytest.mark.parametrize(
    ("age", "kept", "valid", "years"),
    [("060Y", "060Y", True, 60), ("60", "60", False, 60), ("90+", "90+", False, 90), ("sixty", "", False, None), ("006M", "006M", True, 0.5)],
)  # fmt: skip
def test_ages_of_any_form_are_understood_or_dropped(age, kept, valid, years):
    ds = make_image()
    ds[0x00101010] = DataElement(0x00101010, "AS", age, validation_mode=config.IGNORE)
    patient = read_headers(ds).patient
    assert (patient.age, patient.age_is_valid) == (kept, valid)
    assert patient.age_years == (years if years is None else pytest.approx(years))


def test_watched_elements_are_ok_empty_absent_or_invalid():
    ds = make_image()
    ds.EchoTime = None
    ds.add_new(0x00180080, "DS", "")
    del ds.PixelSpacing
    elements = read_headers(ds).elements
    assert elements["SliceThickness"] == "ok"
    assert elements["EchoTime"] == elements["RepetitionTime"] == "empty"
    assert elements["PixelSpacing"] == "absent"


def test_headers_survive_json(real_data: Path):
    for path in (
        real_data / "enhanced_multiframe/philips_achieva/IM-0001-3835-0001.dcm",
        next((real_data / "mr_other/siemens_skyra_epi_mosaic").glob("*.dcm")),
    ):
        measurement = measure_file(path)
        assert ImageMeasurement.from_json(measurement.to_json()) == measurement
        assert ImageHeaders.from_json(measurement.headers.to_json()) == measurement.headers


def test_a_mosaic_is_unpacked_into_its_slices(real_data: Path):
    headers = measure_file(sorted((real_data / "mr_other/siemens_skyra_epi_mosaic").glob("*.dcm"))[0]).headers
    assert (headers.layout, len(headers.frames)) == ("mosaic", headers.expected.siemens_mosaic_slices)
    locations = [frame.slice_location_mm for frame in headers.frames]
    steps = {round(b - a, 3) for a, b in zip(locations, locations[1:])}
    assert steps == {headers.frames[0].spacing_between_slices}
    first = headers.frames[0]
    # the shifted origin lies half a field of view from the isocentre of this centred acquisition
    assert first.position[:2] == pytest.approx((-first.columns * first.pixel_spacing[1] / 2,) * 2)


def test_a_grid_takes_each_position_from_its_own_header(real_data: Path):
    measurement = measure_file(sorted((real_data / "mr_brain_dwi/uih_umr770_dti_16dir").glob("*.dcm"))[3])
    headers = measurement.headers
    assert (headers.layout, len(headers.frames), len(measurement.frames)) == ("grid", 20, 20)
    locations = [frame.slice_location_mm for frame in headers.frames]
    steps = [b - a for a, b in zip(locations, locations[1:])]
    assert steps == pytest.approx([headers.frames[0].spacing_between_slices] * 19, abs=1e-3)
    assert headers.frames[0].b_value_source == "uih"
    assert headers.frames[0].gradient is not None


def test_enhanced_frames_have_their_own_geometry_and_weighting(real_data: Path):
    headers = measure_file(real_data / "enhanced_multiframe/philips_achieva/IM-0001-3835-0001.dcm").headers
    assert (headers.layout, len(headers.frames)) == ("enhanced", headers.expected.number_of_frames)
    assert {frame.b_value for frame in headers.frames} > {0.0}
    assert all(frame.position and frame.pixel_spacing and frame.phase_axis is not None for frame in headers.frames)
