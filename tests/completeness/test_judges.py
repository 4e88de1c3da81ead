"""Each judge says met, not met and unknown, and says why."""

from __future__ import annotations

import pytest

from agent.completeness import DiffusionNeed
from tests.completeness.studies import ENHANCED_MR, SR, instance, judged, said, stack

PHILIPS = {"philips_slices": 4, "philips_b_values": 2, "philips_gradient_orientations": 3}


def diffusion(directions: int, slices: int = 4, **facts: object) -> list:
    volumes = [(0.0, None)] + [(1000.0, (1.0, 0.1 * d, 0.0)) for d in range(directions)]
    return [
        instance(1 + v * slices + k, 2.0 * k, b_value=b, gradient=g, **facts)
        for v, (b, g) in enumerate(volumes)
        for k in range(slices)
    ]


def test_an_open_association_holds_and_a_silent_one_does_not() -> None:
    assert said(judged(stack(3), open_for=(1.0,)), "open_association").answer == "not_met"
    assert said(judged(stack(3), open_for=(500.0,)), "open_association").answer == "met"
    assert said(judged(stack(3)), "open_association").answer == "met"


def test_a_whole_slice_grid_is_met() -> None:
    assert said(judged(stack(20)), "slice_grid").answer == "met"


def test_a_hole_in_the_slice_grid_is_counted_in_words() -> None:
    finding = said(judged(stack(64, without=range(10, 62, 5))), "slice_grid")
    assert finding.answer == "not_met"
    assert finding.sentence.startswith("11 of 64 slices of series 5 missing")


def test_a_position_with_fewer_volumes_is_a_hole() -> None:
    images = stack(5) + [instance(10 + n, 2.0 * n) for n in range(4)]
    finding = said(judged(images), "slice_grid")
    assert (finding.answer, finding.numbers["missing"], finding.numbers["expected"]) == ("not_met", 1, 10)


@pytest.mark.parametrize(
    "images",
    [
        stack(1),
        stack(2),
        [instance(n, z) for n, z in enumerate((0.0, 2.0, 7.1, 8.0, 13.3, 21.0))],
        stack(3) + [instance(9, 1.0, orientation=(0.0, 1.0, 0.0, 0.0, 0.0, -1.0))],
        [instance(1), instance(2), instance(3)],
        [instance(1, 0.0, siemens_mosaic=5), instance(2, 0.0, siemens_mosaic=5)],
    ],
    ids=["one image", "two images", "irregular by design", "localizer", "no positions", "mosaic"],
)
def test_the_slice_grid_is_unknown_where_it_cannot_tell(images: list) -> None:
    assert said(judged(images), "slice_grid").answer == "unknown"


def test_three_slices_with_a_hole_are_seen_when_the_thickness_agrees() -> None:
    assert said(judged(stack(4, without=[1])), "slice_grid").answer == "not_met"


def test_the_frames_of_an_enhanced_object_are_series_proof() -> None:
    finding = said(judged([instance(1, sop_class=ENHANCED_MR, number_of_frames=40)]), "header_counts")
    assert (finding.answer, finding.scope) == ("met", "series")


def test_an_enhanced_object_that_lost_frames_is_not_met() -> None:
    finding = said(judged([instance(1, sop_class=ENHANCED_MR, number_of_frames=40, frame_items=30)]), "header_counts")
    assert (finding.answer, finding.sentence[:8]) == ("not_met", "10 of 40")


def test_several_enhanced_objects_are_no_proof() -> None:
    images = [instance(n, sop_class=ENHANCED_MR, number_of_frames=40) for n in (1, 2)]
    assert said(judged(images), "header_counts").answer == "unknown"


def test_a_concatenation_says_how_many_objects_it_has() -> None:
    images = [instance(n, sop_class=ENHANCED_MR, number_of_frames=40, in_concatenation_total=3) for n in (1, 2)]
    assert said(judged(images), "header_counts").answer == "not_met"
    images.append(instance(3, sop_class=ENHANCED_MR, number_of_frames=40, in_concatenation_total=3))
    assert said(judged(images), "header_counts").answer == "met"


def test_philips_counts_slices_times_weightings() -> None:
    whole = diffusion(3, **PHILIPS)
    assert said(judged(whole), "header_counts").answer == "met"
    assert said(judged(whole[:-2]), "header_counts").sentence.startswith("2 of 16 images of series 5 missing")


def test_philips_formula_and_grid_that_disagree_are_unknown_and_both_are_shown() -> None:
    finding = said(judged(diffusion(2, **PHILIPS)), "header_counts")
    assert finding.answer == "unknown"
    assert "12 images" in finding.sentence
    assert "= 16" in finding.sentence
    assert said(judged(diffusion(5, **PHILIPS)), "header_counts").answer == "unknown"


def test_a_single_time_point_says_nothing() -> None:
    assert said(judged(stack(20, number_of_temporal_positions=1)), "header_counts").answer == "unknown"


def test_several_time_points_are_counted() -> None:
    images = [
        i
        for t in range(3)
        for i in (instance(1 + 5 * t + k, 2.0 * k, number_of_temporal_positions=3) for k in range(5))
    ]
    assert said(judged(images), "header_counts").answer == "met"
    assert said(judged(images[:10]), "header_counts").answer == "not_met"


def test_ge_counts_of_one_volume_are_not_taken_for_the_series() -> None:
    images = stack(15, images_in_acquisition=15, ge_locations=15, manufacturer="GE MEDICAL SYSTEMS")
    assert said(judged(images), "header_counts").answer == "unknown"


def test_a_mosaic_proves_its_volume_and_not_its_series() -> None:
    assert said(judged([instance(1, 0.0, siemens_mosaic=5)]), "header_counts").answer == "unknown"
    two = [instance(n, 0.0, siemens_mosaic=5, number_of_temporal_positions=2) for n in (1, 2)]
    assert said(judged(two), "header_counts").answer == "met"
    assert said(judged(two[:1]), "header_counts").answer == "not_met"


def test_diffusion_volumes_must_have_all_slices() -> None:
    whole = diffusion(3)
    assert said(judged(whole), "diffusion").answer == "met"
    finding = said(judged(whole[:-1]), "diffusion")
    assert (finding.answer, finding.sentence) == ("not_met", "1 of 4 diffusion volumes of series 5 lack slices.")
    assert said(judged(stack(5)), "diffusion").answer == "unknown"


def test_a_profile_asks_for_volumes_of_a_shell() -> None:
    need = DiffusionNeed(shells=(0.0, 1000.0), b0_min=2, directions_min=3)
    assert (
        "1 of 2 volumes without diffusion weighting" in said(judged(diffusion(3), diffusion=need), "diffusion").sentence
    )
    need = DiffusionNeed(shells=(0.0, 1000.0), b0_min=1, directions_min=30)
    assert "3 of 30 directions at b = 1000" in said(judged(diffusion(3), diffusion=need), "diffusion").sentence


def test_instance_numbers_count_only_for_vendors_without_holes() -> None:
    gap = [instance(n, manufacturer="SIEMENS") for n in (1, 2, 5)]
    assert said(judged(gap), "instance_numbers").answer == "not_met"
    assert said(judged([instance(n, manufacturer="SIEMENS") for n in (1, 2, 3)]), "instance_numbers").answer == "met"
    assert (
        said(judged([instance(n, manufacturer="Philips") for n in (1, 2, 5)]), "instance_numbers").answer == "unknown"
    )


def test_required_series_are_looked_for_by_class() -> None:
    assert said(judged(stack(3)), "required_series").answer == "unknown"
    assert said(judged(diffusion(3), required=("dwi",)), "required_series").answer == "met"
    missing = said(judged(stack(3), required=("dwi",)), "required_series")
    assert (missing.answer, missing.sentence) == ("not_met", "1 of 1 required series missing: dwi.")


def test_reports_and_key_images_are_not_missing_slices() -> None:
    decision = judged(
        [*stack(4), instance(1, series="s9", sop_class=SR), instance(2, series="s9", sop_class=SR)], age_s=100
    )
    assert decision.action == "stable"
    assert decision.instances_expected == 6
