"""Verdict, score and reasons: what decides, what only lowers the score, what is not graded."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.qc.folder import check_folder
from tests.dicom_files import write_series
from tests.qc.studies import check, failing, judged, run_tool, t1_series


@pytest.fixture(scope="module")
def good_diffusion(shared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantom") / "good"
    run_tool(
        shared_folder, "phantom.py", out, "--protocol", "dwi", "--matrix", 120, "--fov", 240, "--slices", 66,
        "--thickness", 2, "--bvals", "0,0,1000", "--directions", 30, "--seed", 5,
    )  # fmt: skip
    return out


def test_a_complete_diffusion_study_passes_its_profile(good_diffusion: Path) -> None:
    judged_study = check_folder(good_diffusion)
    report = judged_study.report
    assert (report.profile, report.verdict) == ("dmri-parkinsonism", "pass")
    assert not failing(report)
    assert report.score is not None
    assert report.score > 95
    assert report.evidence_percent > 95
    assert len(judged_study.pictures) == 1
    assert check(report, "dwi.directions_min").measured == 30.0
    assert check(report, "dwi.volume_drift_mm").result == "pass"


def test_missing_directions_and_volumes_fail(good_diffusion: Path, tmp_path: Path) -> None:
    files = sorted(good_diffusion.rglob("*.dcm"))
    for path in files[66 : 66 * 10]:  # one volume without weighting and eight directions are left
        (tmp_path / path.name).hardlink_to(path)
    report = check_folder(tmp_path, with_pictures=False).report
    assert {"dwi.b0_min", "dwi.directions_min"} <= failing(report)
    assert check(report, "dwi.b0_min").measured == 1.0
    assert check(report, "dwi.directions_min").measured == 8.0


def test_a_hole_in_one_volume_fails(good_diffusion: Path, tmp_path: Path) -> None:
    files = sorted(good_diffusion.rglob("*.dcm"))
    for path in [*files[: 66 * 9 - 20], *files[66 * 9 - 19 : 66 * 9]]:
        (tmp_path / path.name).hardlink_to(path)
    found = check(check_folder(tmp_path, with_pictures=False).report, "dwi.complete")
    assert (found.result, found.detail) == ("fail", "1 of 594 slices missing.")


def test_a_plain_t1_passes_mr_brain() -> None:
    report = judged(t1_series()).report
    assert (report.profile, report.verdict, failing(report)) == ("mr-brain", "pass", set())


def test_a_missing_required_series_fails_whatever_the_score() -> None:
    report = judged(t1_series(), "dmri-parkinsonism").report
    assert report.verdict == "fail"
    assert report.because == "Required sequence: DWI: none found."
    assert check(report, "dwi.required").advice


def test_a_critical_check_is_a_veto() -> None:
    series = t1_series()
    series[3].PatientID = "ANOTHER"
    report = judged(series).report
    assert report.verdict == "fail"
    assert check(report, "study.identity").severity == "critical"
    assert "ANOTHER" not in str(report.to_record())


def test_a_pixel_metric_without_calibration_never_fails_a_study() -> None:
    noisy = t1_series()
    import numpy as np

    rng = np.random.default_rng(3)
    for ds in noisy:
        values = np.frombuffer(ds.PixelData, "<u2").astype(float)
        ds.PixelData = np.clip(values + rng.normal(0, 250, values.size), 0, 4095).astype("<u2").tobytes()
    report = judged(noisy).report
    assert report.verdict != "fail"
    noise = check(report, "series.noise_pct")
    assert (noise.result, noise.uncalibrated) == ("warn", True)
    assert noise.share == 0.0


def test_a_few_images_with_other_parameters_are_found() -> None:
    series = t1_series()
    series[5].SliceThickness = 9.5
    found = check(judged(series).report, "series.SliceThickness")
    assert (found.result, found.measured) == ("fail", 9.5)
    assert found.detail.startswith("1 of 12 slices.")


def test_what_the_headers_do_not_say_is_undetermined_and_lowers_the_evidence() -> None:
    series = t1_series(MagneticFieldStrength=None)
    report = judged(series).report
    assert check(report, "series.MagneticFieldStrength").result == "undetermined"
    assert report.evidence_percent < 100


def test_incomplete_studies_fail_with_the_sentence_of_the_judge() -> None:
    report = judged(t1_series(), incomplete=("12 of 64 slices of series 5 missing.",)).report
    assert report.verdict == "fail"
    assert check(report, "study.incomplete").detail == "12 of 64 slices of series 5 missing."
    assert report.to_record()["incomplete"] == ["12 of 64 slices of series 5 missing."]


def test_the_best_of_repeated_runs_is_judged_and_said(tmp_path: Path) -> None:
    profile = tmp_path / "one.toml"
    profile.write_text(
        '[profile]\nid = "one"\nversion = "1"\nmodality = ["MR"]\n[[sequence]]\nname = "T1"\nclass = "t1"\nrequired = true\n'
        'count = { min = 1, max = 2, pick = "best_score" }\n[sequence.parameters]\nSliceThickness = { max = 3.0 }\n'
    )
    bad = t1_series(6, study_uid="1.2.3", SliceThickness=5.0, SeriesNumber=2)
    good = t1_series(6, study_uid="1.2.3", SliceThickness=2.0, SeriesNumber=3)
    for ds in bad:
        ds.ImagePositionPatient = [0, 0, 5.0 * ds.InstanceNumber]
    report = judged([*bad, *good], str(profile)).report
    assert report.verdict == "pass"
    assert "Series 3 (T1) is judged as the best" in check(report, "t1.required").detail
    assert [s.picked for s in report.series] == [False, True]


def test_the_reasons_name_the_gravest_first() -> None:
    series = t1_series(SliceThickness=9.5)
    del series[4]
    report = judged(series).report
    assert len(report.reasons) == 3
    assert "Slice grid without holes" in " ".join(report.reasons)
    assert report.recommendations


def test_every_failed_check_says_what_to_do(tmp_path: Path) -> None:
    series = t1_series(SliceThickness=9.5, MagneticFieldStrength=None)
    del series[4]
    write_series(tmp_path, series)
    for found in check_folder(tmp_path).report.checks:
        if found.result == "fail":
            assert found.advice
            assert "{" not in found.advice


def test_the_record_has_the_shape_of_the_interface() -> None:
    record = judged(t1_series()).report.to_record()
    assert {"verdict", "score", "profile", "series", "checks"} <= record.keys()
    for one in record["checks"]:  # type: ignore[attr-defined]
        assert {"id", "group", "result", "measured", "limit", "unit", "severity", "advice"} <= one.keys()
        assert one["result"] in ("pass", "warn", "fail", "undetermined")


def test_a_study_without_gradable_images_needs_review(real_data: Path) -> None:
    report = check_folder(real_data / "non_image" / "dcmqi_sr_seg", with_pictures=False).report
    assert (report.profile, report.verdict, report.score) == ("integrity", "review", None)
    assert report.because == "The study holds no image that could be graded."
    assert all(not s.graded for s in report.series)


def test_a_report_beside_the_images_changes_nothing(real_data: Path, tmp_path: Path) -> None:
    write_series(tmp_path, t1_series())
    alone = check_folder(tmp_path, with_pictures=False).report
    sr = next((real_data / "non_image" / "siemens_phoenix_report").glob("*.dcm"))
    (tmp_path / "sr.dcm").write_bytes(sr.read_bytes())
    beside = check_folder(tmp_path, "mr-brain", with_pictures=False).report
    assert [c.id for c in beside.checks] == [c.id for c in alone.checks]
    assert [s.graded for s in beside.series].count(True) == 1
