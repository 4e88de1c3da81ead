"""Pixels are read within limits, or say why not."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from agent.errors import BadDataset
from agent.qc.image_headers import ImageHeaders
from agent.qc.measure import measure_bytes, measure_dataset, measure_file
from agent.qc.measurement import FrameNumbers, ImageMeasurement, NotComputable
from agent.qc.reading.objects import read_part10
from tests.dicom_files import as_part10, make_image


def measure(ds, syntax: str = ExplicitVRLittleEndian) -> ImageMeasurement:
    return measure_bytes(as_part10(ds, syntax), 1, ImageHeaders())


def reason(measurement: ImageMeasurement) -> str:
    (frame,) = measurement.frames
    assert isinstance(frame, NotComputable)
    return frame.reason


def test_the_same_slice_has_the_same_numbers_in_every_lossless_syntax(real_data: Path):
    folder = real_data / "compressed/real_slice_many_syntaxes"
    for kind in ("mr", "ct"):
        found = {p.stem: measure_file(p) for p in sorted(folder.glob(f"{kind}_*.dcm")) if "near" not in p.stem}
        assert len(found) > 5
        assert all(not m.problems for m in found.values()), found
        first = found[f"{kind}_explicit_le"].frames[0]
        assert isinstance(first, FrameNumbers)
        assert {name for name, m in found.items() if m.frames[0] != first} == set()


def test_lossy_history_is_a_finding(real_data: Path):
    measurement = measure_file(real_data / "compressed/real_slice_many_syntaxes/mr_jpegls_near2.dcm")
    assert "lossy" in {problem.code for problem in measurement.problems}


@pytest.mark.parametrize("keep", [100, 1000, 2047])
def test_short_pixel_data_is_a_finding_and_no_number(keep):
    ds = make_image()
    ds.PixelData = ds.PixelData[:keep]
    measurement = measure_dataset_of(ds)
    assert [problem.code for problem in measurement.problems] == ["size_mismatch"]
    assert reason(measurement) == "size_mismatch"


def measure_dataset_of(ds) -> ImageMeasurement:
    as_part10(make_image())
    ds.file_meta = dcmread(io.BytesIO(as_part10(make_image()))).file_meta
    return measure_dataset(ds, 1)


def test_a_header_that_promises_gigabytes_is_refused_before_decoding():
    ds = make_image(Rows=65_535, Columns=65_535)
    assert reason(measure_dataset_of(ds)) == "too_large"
    ds = make_image()
    ds.NumberOfFrames = 10_000_000
    measurement = measure_dataset_of(ds)
    assert {frame.reason for frame in measurement.frames} == {"too_large"}


def test_a_deflated_bomb_is_refused():
    ds = make_image()
    raw = as_part10(ds)
    end = raw.index(b"\x08\x00\x16\x00UI")
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = compressor.compress(raw[end:] + bytes(4 << 20)) + compressor.flush()
    head = as_part10(make_image(), DeflatedExplicitVRLittleEndian)
    head = head[: 132 + 12 + int.from_bytes(head[140:144], "little")]
    with pytest.raises(BadDataset):
        read_part10(head + body, max_inflated_bytes=1 << 20)
    assert (
        read_part10(head + body, max_inflated_bytes=8 << 20).file_meta.TransferSyntaxUID
        == DeflatedExplicitVRLittleEndian
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "colour"),
        ({"RescaleSlope": 0.0}, "bad_rescale"),
        ({"BitsAllocated": 64}, "bits_allocated"),
    ],
)
def test_what_cannot_be_measured_says_why(change, expected):
    assert reason(measure(make_image(**change))) == expected


def test_an_object_without_pixels_says_so():
    ds = make_image()
    del ds.PixelData
    assert reason(measure_dataset_of(ds)) == "no_pixels"


def test_float_pixels_are_not_measured():
    ds = make_image()
    del ds.PixelData
    ds.FloatPixelData = bytes(4 * 32 * 32)
    assert reason(measure_dataset_of(ds)) == "float_pixels"


def test_real_units_follow_slope_and_intercept():
    plain, scaled = measure(make_image()).frames[0], measure(make_image(RescaleSlope=2.5, RescaleIntercept=0)).frames[0]
    assert scaled.mean == pytest.approx(2.5 * plain.mean)
    assert scaled.core_median == pytest.approx(2.5 * plain.core_median)
    assert scaled.noise_laplacian == pytest.approx(2.5 * plain.noise_laplacian)
    for name in ("sharpness", "noise_laplacian_pct", "efc", "foreground_share"):
        assert getattr(scaled, name) == pytest.approx(getattr(plain, name), rel=1e-9)


def test_blank_slices_are_blank():
    ds = make_image()
    ds.PixelData = bytes(2 * 32 * 32)
    frame = measure(ds).frames[0]
    assert frame.is_blank
    assert frame.sharpness == NotComputable("blank")


def test_saturation_counts_the_largest_code():
    ds = make_image()
    pixels = np.frombuffer(ds.PixelData, "<u2").copy()
    pixels[:103] = 4095
    ds.PixelData = pixels.tobytes()
    assert measure(ds).frames[0].saturated_share == pytest.approx(103 / 1024)


def test_unknown_phase_direction_is_a_reason():
    frame = measure(make_image(shape=(96, 96))).frames[0]
    assert frame.gradient_entropy == frame.ghost_pe_pct == NotComputable("phase_direction_unknown")


def test_phase_images_have_no_magnitude_numbers():
    frame = measure(make_image(ImageType=["ORIGINAL", "PRIMARY", "P"])).frames[0]
    assert frame.sharpness == NotComputable("not_magnitude")
