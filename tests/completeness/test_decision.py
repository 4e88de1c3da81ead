"""When a study turns Stable: proof at once, quiet time without proof, doubt holds it and says why."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.completeness import StudyEvidence, StudyLedger, decide
from tests.completeness.studies import ENHANCED_MR, instance, judged, said, settings, stack
from tests.completeness.test_judges import PHILIPS, diffusion


@pytest.mark.parametrize("slices", [1, 2, 3, 4])
def test_a_tiny_study_without_proof_waits_for_its_quiet_time(slices: int) -> None:
    waiting = judged(stack(slices), age_s=10)
    assert (waiting.action, waiting.look_again_in_s) == ("wait", 50)
    assert judged(stack(slices), age_s=60).action == "stable"


def test_an_open_association_is_waited_for_whatever_the_proof() -> None:
    images = diffusion(3, **PHILIPS)
    decision = judged(images, age_s=100, open_for=(20.0,), required=("dwi",))
    assert (decision.action, decision.look_again_in_s) == ("wait", 100)


def test_an_association_that_never_closes_does_not_hold_a_study_for_ever() -> None:
    assert judged(stack(4), age_s=4000, open_for=(1.0,)).action == "stable"


def test_study_proof_turns_a_study_stable_at_once() -> None:
    assert judged(diffusion(3, **PHILIPS), age_s=0.0, required=("dwi",)).action == "stable"
    enhanced = instance(
        1, sop_class=ENHANCED_MR, number_of_frames=99, b_value=1000.0, image_type=("ORIGINAL", "PRIMARY", "DIFFUSION")
    )
    assert judged([enhanced], age_s=0.0, required=("dwi",)).action == "stable"


def test_present_but_unproven_required_series_wait_for_quiet_time() -> None:
    decision = judged(diffusion(3), age_s=5, required=("dwi",))
    assert decision.action == "wait"
    assert judged(diffusion(3), age_s=61, required=("dwi",)).action == "stable"


def test_series_proof_alone_is_no_study_proof() -> None:
    assert judged(diffusion(3, **PHILIPS), age_s=5).action == "wait"


def test_a_hole_holds_a_study_unstable_and_says_what_is_missing() -> None:
    decision = judged(stack(64, without=range(20, 32)), age_s=600)
    assert decision.action == "wait"
    assert decision.because.startswith("12 of 64 slices of series 5 missing")
    assert decision.look_again_in_s == 3000
    assert decision.instances_expected == 64


def test_after_the_longest_wait_the_site_chooses() -> None:
    hole = stack(10, without=[4])
    assert judged(hole, age_s=3600).action == "stable_incomplete"
    held = judged(hole, age_s=3600, settings=settings(incomplete="hold"))
    assert (held.action, held.look_again_in_s) == ("hold", None)
    assert "1 of 10 slices of series 5 missing" in held.because


def test_a_required_series_that_is_missing_holds() -> None:
    decision = judged(stack(10), age_s=600, required=("dwi",))
    assert (decision.action, decision.series_expected) == ("wait", 2)


def test_skipped_instance_numbers_hold_only_where_the_grid_is_silent() -> None:
    numbered = [instance(n, 2.0 * k, manufacturer="SIEMENS") for k, n in enumerate((1, 2, 5, 6, 7))]
    assert judged(numbered, age_s=100).action == "stable"
    finding = said(judged(numbered), "instance_numbers")
    assert (finding.answer, "but its slice grid is whole" in finding.sentence) == ("unknown", True)
    without_grid = [instance(n, manufacturer="SIEMENS") for n in (1, 2, 5)]
    assert judged(without_grid, age_s=100).action == "wait"


def test_a_series_that_arrives_slowly_is_given_more_time() -> None:
    slow = [instance(n, 2.0 * n, received_at_s=40.0 * n) for n in range(5)]
    assert judged(slow, age_s=70).action == "wait"
    assert judged(slow, age_s=100).action == "stable"


def test_a_series_that_still_arrives_holds_the_study() -> None:
    decision = judged(stack(5), age_s=70, series_ages_s={"s1": 70.0})
    assert decision.action == "stable"
    assert judged(stack(5), age_s=70, series_ages_s={"s1": 5.0}).action == "wait"


def test_quiet_time_starts_with_the_settings_of_the_site() -> None:
    quick = settings(quiet_s=1, series_quiet_s=0.5)
    assert judged(stack(3), age_s=1.1, settings=quick).action == "stable"


def test_every_finding_is_kept_with_the_decision() -> None:
    judges = {f.judge for f in judged(stack(5)).findings}
    assert judges == {
        "open_association",
        "required_series",
        "header_counts",
        "slice_grid",
        "diffusion",
        "instance_numbers",
    }


@given(st.integers(0, 2**32 - 1), st.integers(3, 40), st.sets(st.integers(1, 38), max_size=5))
def test_the_order_of_arrival_does_not_matter(seed: int, count: int, holes: set[int]) -> None:
    images = stack(count, without=holes)
    shuffled = images.copy()
    random.Random(seed).shuffle(shuffled)
    first, second = judged(images, age_s=100), judged(shuffled, age_s=100)
    assert (first.action, first.because, first.instances_expected) == (
        second.action,
        second.because,
        second.instances_expected,
    )


def test_a_ledger_kept_while_images_arrive_gives_the_same_decision() -> None:
    images = diffusion(6)
    ledger = StudyLedger()
    for n, image in enumerate(images, 1):
        ledger.add(image)
        kept = decide(StudyEvidence((), (), 0.0, settings(), ledger=ledger))
        assert kept == judged(images[:n])
