"""Series are told apart by their headers; names count least."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.completeness.sequence_class import SeriesTraits, classify
from agent.qc.folder import find_files
from agent.qc.measure import measure_file
from agent.qc.series import Series, arrange

MR = "1.2.840.10008.5.1.4.1.1.4"


def traits(**changes: object) -> SeriesTraits:
    return SeriesTraits(sop_class_uid=MR, modality="MR", **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"b_values": (0.0, 1000.0), "is_echo_planar": True, "scanning_sequence": ("EP", "SE")}, "dwi"),
        (
            {"scanning_sequence": ("GR", "IR"), "inversion_time": 900.0, "echo_time": 2.9, "repetition_time": 2300.0},
            "t1",
        ),
        ({"scanning_sequence": ("GR",), "echo_time": 2.5, "repetition_time": 300.0, "flip_angle": 80.0}, "t1"),
        ({"scanning_sequence": ("SE",), "echo_time": 12.0, "repetition_time": 500.0}, "t1"),
        ({"scanning_sequence": ("SE",), "echo_time": 95.0, "repetition_time": 5000.0}, "t2"),
        ({"scanning_sequence": ("SE",), "echo_time": 20.0, "repetition_time": 3000.0}, "pd"),
        (
            {
                "scanning_sequence": ("SE", "IR"),
                "inversion_time": 2500.0,
                "echo_time": 110.0,
                "repetition_time": 9000.0,
            },
            "flair",
        ),
        ({"scanning_sequence": ("GR",), "acquisition_type": "3D", "echo_time": 20.0, "flip_angle": 15.0}, "swi"),
        ({"scanning_sequence": ("EP", "GR"), "is_echo_planar": True, "echo_time": 30.0, "volumes": 200}, "bold"),
        ({"image_type": ("ORIGINAL", "PRIMARY", "LOCALIZER")}, "localizer"),
        ({"orientations": 3, "positions": 9, "slice_thickness": 8.0}, "localizer"),
        ({"image_type": ("DERIVED", "PRIMARY", "DIFFUSION", "ADC"), "b_values": (1000.0,)}, "derived"),
        ({"samples_per_pixel": 3}, "derived"),
        ({}, "mr"),
    ],
)
def test_headers_tell_the_class(given: dict[str, object], expected: str) -> None:
    assert classify(traits(**given)).sequence_class == expected


def test_a_wrong_name_does_not_outweigh_the_headers() -> None:
    answer = classify(traits(scanning_sequence=("SE",), echo_time=95.0, repetition_time=5000.0, description="T1 axial"))
    assert answer.sequence_class == "t2"
    assert answer.confidence < 0.8


def test_every_class_comes_with_its_reasons() -> None:
    answer = classify(traits(b_values=(0.0, 1000.0)))
    assert answer.evidence[0].why == "diffusion weighting up to b = 1000 s/mm²"


def test_other_sop_classes_are_counted_and_not_graded() -> None:
    answer = classify(SeriesTraits(sop_class_uid="1.2.840.10008.5.1.4.1.1.88.33", modality="SR"))
    assert (answer.sequence_class, answer.is_graded) == ("non_image", False)


def real(folder: Path) -> tuple[Series, ...]:
    return arrange([measure_file(path, n) for n, path in enumerate(find_files(folder))])


@pytest.mark.parametrize(
    ("folder", "classes"),
    [
        ("mr_brain_t1", ["t1"]),
        ("mr_brain_dwi/uih_umr770_dti_16dir", ["dwi"]),
        ("mr_other/ge_mr750_fmri_epi", ["bold"]),
        ("mr_other/siemens_skyra_epi_mosaic", ["bold"]),
        ("mr_other/siemens_skyra_acr_t1_phantom", ["t1"]),
        ("ct/philips_ingenuity_head_phantom", ["localizer", "ct", "non_image"]),
        ("enhanced_multiframe/siemens_xa30", ["t1", "derived"]),
        ("enhanced_multiframe/philips_achieva", ["dwi"]),
        ("non_image/siemens_phoenix_report", ["non_image"]),
    ],
)
def test_real_series_are_recognised(real_data: Path, folder: str, classes: list[str]) -> None:
    assert [s.classification.sequence_class for s in real(real_data / folder)] == classes


def test_a_mosaic_is_judged_slice_by_slice(real_data: Path) -> None:
    series = real(real_data / "mr_other" / "siemens_skyra_epi_mosaic")[0]
    assert series.grid is not None
    assert (len(series.images), len(series.grid.positions), len(series.volumes)) == (2, 5, 2)


def test_mean_images_inside_a_raw_series_are_set_aside(real_data: Path) -> None:
    series = real(real_data / "mr_brain_dwi" / "philips_achieva_dti_16dir")[0]
    assert [(a.count, a.reason) for a in series.set_aside] == [(40, "mean diffusion images computed by the scanner")]
    assert len(series.slices) == 640
