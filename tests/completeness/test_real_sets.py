"""Each formula against a real set: facts are read as the receiver reads them."""

from __future__ import annotations

from pathlib import Path

from tests.completeness.studies import judged, real, said


def test_philips_diffusion_meets_slices_times_weightings(real_data: Path) -> None:
    images = real(real_data / "mr_brain_dwi" / "philips_achieva_dti_16dir")
    finding = said(judged(images), "header_counts")
    assert (finding.answer, finding.numbers["received"], finding.numbers["expected"]) == ("met", 680, 680)
    assert said(judged(images), "slice_grid").answer == "met"
    assert said(judged(images), "diffusion").answer == "met"
    assert judged(images, required=("dwi",)).action == "stable"
    short = judged(images[:-7], required=("dwi",))
    assert (short.action, said(short, "header_counts").numbers["expected"]) == ("wait", 680)


def test_philips_time_position_of_one_says_nothing(real_data: Path) -> None:
    images = real(real_data / "mr_brain_dwi" / "philips_achieva_dti_16dir")
    assert images[0].facts["number_of_temporal_positions"] == 1
    assert "slices × (1 + 16 directions × 1 b values)" in said(judged(images), "header_counts").sentence


def test_siemens_t1_has_an_even_grid_and_unbroken_numbers(real_data: Path) -> None:
    images = real(real_data / "mr_brain_t1")
    decision = judged(images, age_s=60)
    assert decision.action == "stable"
    assert said(decision, "slice_grid").numbers["positions"] == 35
    assert said(decision, "instance_numbers").answer == "met"
    hole = judged([i for n, i in enumerate(images) if n not in (9, 17, 18)], age_s=60)
    assert hole.action == "wait"
    assert hole.because.startswith("3 of 35 slices of series 3 missing")


def test_ge_time_series_is_known_to_be_cut(real_data: Path) -> None:
    images = real(real_data / "mr_other" / "ge_mr750_fmri_epi")
    finding = said(judged(images), "header_counts")
    assert (finding.answer, finding.numbers) == ("not_met", {"received": 45, "expected": 150})
    assert said(judged(images), "slice_grid").answer == "met"


def test_siemens_mosaic_proves_no_series(real_data: Path) -> None:
    images = real(real_data / "mr_other" / "siemens_skyra_epi_mosaic")
    finding = said(judged(images), "header_counts")
    assert finding.answer == "unknown"
    assert "5 slices of a volume" in finding.sentence


def test_uih_grid_volumes_are_whole(real_data: Path) -> None:
    images = real(real_data / "mr_brain_dwi" / "uih_umr770_dti_16dir")
    assert said(judged(images), "diffusion").numbers == {"volumes": 17, "slices": 1, "torn": 0}


def test_an_enhanced_object_of_siemens_is_proof(real_data: Path) -> None:
    images = real(real_data / "enhanced_multiframe" / "siemens_xa30" / "5_t1_mprage_96frames")
    finding = said(judged(images), "header_counts")
    assert (finding.answer, finding.numbers["received"]) == ("met", 96)


def test_a_cut_enhanced_object_of_philips_holds_what_it_says(real_data: Path) -> None:
    images = real(real_data / "enhanced_multiframe" / "philips_achieva")
    assert said(judged(images), "header_counts").answer in ("met", "not_met")


def test_ct_with_localizer_and_summary_is_judged_series_by_series(real_data: Path) -> None:
    images = real(real_data / "ct" / "philips_ingenuity_head_phantom")
    decision = judged(images, age_s=60)
    assert decision.action == "stable"
    assert [f.answer for f in decision.findings if f.judge == "slice_grid"].count("met") == 1


def test_reports_alone_wait_for_quiet_time(real_data: Path) -> None:
    images = real(real_data / "non_image" / "siemens_phoenix_report")
    assert judged(images, age_s=10).action == "wait"
    assert judged(images, age_s=60).action == "stable"
