"""While images arrive the profile already tells which series the study must have."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.completeness import StudyLedger
from agent.errors import ConfigError
from agent.qc.arrival import required_classes
from tests.completeness.studies import judged, real, stack
from tests.completeness.test_judges import PHILIPS, diffusion


def test_a_diffusion_study_requires_its_diffusion_series() -> None:
    assert required_classes(StudyLedger.of(diffusion(6))) == ("dwi",)
    assert required_classes(StudyLedger.of(diffusion(3))) == ()


def test_other_studies_require_nothing_in_particular() -> None:
    assert required_classes(StudyLedger.of(stack(5, body_part="BRAIN"))) == ()
    assert required_classes(StudyLedger()) == ()


def test_a_profile_may_be_named() -> None:
    assert required_classes(StudyLedger.of(stack(5)), profile="dmri-parkinsonism") == ("dwi",)
    with pytest.raises(ConfigError):
        required_classes(StudyLedger(), profile="nothing")


def test_a_whole_diffusion_series_makes_a_real_study_stable_at_once(real_data: Path) -> None:
    images = real(real_data / "mr_brain_dwi" / "philips_achieva_dti_16dir")
    required = required_classes(StudyLedger.of(images))
    assert required == ("dwi",)
    assert judged(images, required=required).action == "stable"
    assert judged(images[:-1], required=required).action == "wait"


def test_a_synthetic_study_with_vendor_counts_needs_no_quiet_time() -> None:
    counts = {**PHILIPS, "philips_gradient_orientations": 6}
    images = diffusion(6, **counts)
    assert judged(images, required=required_classes(StudyLedger.of(images))).action == "stable"
