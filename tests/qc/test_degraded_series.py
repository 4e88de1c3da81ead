"""A real series with one known defect: the right check fails, and the control passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.qc.folder import check_folder
from tests.qc.studies import check, degraded, failing

SEED = ("--seed", 11)


@pytest.fixture
def t1(real_data: Path) -> Path:
    return real_data / "mr_brain_t1" / "siemens_prisma_t1_2d_sag"


def test_the_control_passes(shared_folder: Path, t1: Path, tmp_path: Path) -> None:
    report = degraded(shared_folder, tmp_path / "out", "control", t1, *SEED)
    assert (report.verdict, failing(report), report.profile) == ("pass", set(), "mr-brain")


@pytest.mark.parametrize(
    ("mode", "options", "failed"),
    [
        ("missing", ("--k", 3), "series.complete"),
        ("duplicate", ("--k", 2), "series.duplicates"),
        ("irregular-spacing", ("--k", 3), "series.spacing"),
        ("mixed-orientation", ("--k", 2), "series.orientation"),
        ("blank", ("--k", 2), "series.blank_slices"),
        ("corrupt", ("--k", 2, "--kind", "truncate"), "series.decode"),
        ("corrupt", ("--k", 2, "--kind", "short-pixels"), "series.decode"),
        ("corrupt", ("--k", 2, "--kind", "garbage"), "study.readable"),
        ("corrupt", ("--k", 2, "--kind", "zero-byte"), "study.readable"),
        ("wrong-parameters", ("--set", "SliceThickness=9"), "series.SliceThickness"),
        ("wrong-parameters", ("--fraction", 0.2, "--set", "SliceThickness=9"), "series.SliceThickness"),
        ("missing-tags", ("--tags", "ImagePositionPatient"), "series.elements_critical"),
        ("missing-tags", ("--tags", "EchoTime", "RepetitionTime"), "series.elements"),
        ("missing-tags", ("--empty", "--tags", "EchoTime", "RepetitionTime"), "series.elements"),
    ],
)
def test_the_right_check_fails(
    shared_folder: Path, t1: Path, tmp_path: Path, mode: str, options: tuple[object, ...], failed: str
) -> None:
    report = degraded(shared_folder, tmp_path / "out", mode, t1, *SEED, *options)
    assert report.verdict == "fail"
    assert failed in failing(report)


@pytest.mark.parametrize(
    ("mode", "options", "warned"),
    [
        ("noise", ("--sigma", 0.3), "series.noise_pct"),
        ("ghost", ("--level", 0.15), "series.ghost_pe_pct"),
        ("clip", (), "series.saturated_share"),
        ("crop", (), "series.end_slices_share"),
        ("crop", ("--side", "fov"), "series.edge_energy"),
    ],
)
def test_the_right_metric_warns_and_does_not_fail(
    shared_folder: Path, t1: Path, tmp_path: Path, mode: str, options: tuple[object, ...], warned: str
) -> None:
    report = degraded(shared_folder, tmp_path / "out", mode, t1, *SEED, *options)
    assert report.verdict != "fail"
    assert check(report, warned).result == "warn"


def test_an_identical_resend_is_no_defect(shared_folder: Path, t1: Path, tmp_path: Path) -> None:
    report = degraded(shared_folder, tmp_path / "out", "duplicate", t1, *SEED, "--k", 2, "--same-uid")
    assert report.verdict == "pass"


def test_two_contents_under_one_uid_fail(shared_folder: Path, t1: Path, tmp_path: Path) -> None:
    from tests.dicom_files import write_series
    from tests.qc.studies import t1_series

    series = t1_series()
    other = t1_series(1, study_uid=series[0].StudyInstanceUID, series_uid=series[0].SeriesInstanceUID, seed=5)
    other[0].SOPInstanceUID = series[0].SOPInstanceUID
    write_series(tmp_path / "s", [*series, *other])
    assert "study.sop_conflict" in failing(check_folder(tmp_path / "s", with_pictures=False).report)


def test_ct_noise_warns(shared_folder: Path, real_data: Path, tmp_path: Path) -> None:
    source = real_data / "ct" / "philips_ingenuity_head_phantom" / "S2010_std_brain_5mm"
    clean = degraded(shared_folder, tmp_path / "clean", "control", source, *SEED)
    assert (clean.profile, clean.verdict, failing(clean)) == ("ct-head", "pass", set())
    noisy = degraded(shared_folder, tmp_path / "noisy", "noise", source, *SEED, "--sigma", 15)
    assert check(noisy, "ct.noise_hu").result == "warn"


def test_the_published_table_is_applied_to_real_diffusion(real_data: Path) -> None:
    report = check_folder(real_data / "mr_brain_dwi" / "philips_achieva_dti_16dir", with_pictures=False).report
    assert (report.profile, report.verdict) == ("dmri-parkinsonism", "fail")
    assert failing(report) == {
        "dwi.RepetitionTime", "dwi.in_plane_mm", "dwi.SliceThickness", "dwi.n_slices", "dwi.shells", "dwi.b0_min",
        "dwi.directions_min", "dwi.coverage_si_mm",
    }  # fmt: skip
    assert check(report, "dwi.slice_order").result == "undetermined"
