"""The invented studies: the same every time, plausible, and judged as they are meant to be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from agent.demo import head
from agent.demo.studies import DemoStudy, StudyKind, plan, study_uid_of, write_study
from agent.qc.folder import check_folder


def study(kind: StudyKind, number: int = 1) -> DemoStudy:
    return DemoStudy(kind, number, "")


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    first = write_study(study(StudyKind.T1), tmp_path / "a")
    second = write_study(study(StudyKind.T1), tmp_path / "b")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    other = write_study(study(StudyKind.T1), tmp_path / "c", seed=2)
    assert first[20].read_bytes() != other[20].read_bytes()


def test_studies_of_a_demonstration_differ_and_are_invented() -> None:
    studies = plan(40)
    assert len({study_uid_of(s) for s in studies}) == 40
    assert len({s.name for s in studies}) == 40
    assert all(s.name.startswith("DEMO^") for s in studies)
    assert {s.kind for s in studies} == set(StudyKind)
    assert len(plan(1)) == 1


def test_a_plain_brain_passes_and_its_copy_with_missing_slices_does_not(tmp_path: Path) -> None:
    write_study(study(StudyKind.T1), tmp_path / "whole")
    write_study(study(StudyKind.INCOMPLETE, 2), tmp_path / "holes")
    assert check_folder(tmp_path / "whole").report.verdict == "pass"
    assert check_folder(tmp_path / "holes").report.verdict == "fail"


def test_dropouts_are_seen_in_the_pixels_and_fail(tmp_path: Path) -> None:
    paths = write_study(study(StudyKind.DROPOUTS, 3), tmp_path)
    volume = [pydicom.dcmread(p).pixel_array.mean() for p in paths[66 * 5 : 66 * 6]]
    ratios = [b / a for a, b in zip(volume[15:50], volume[16:51], strict=True)]
    assert min(ratios) < 0.6
    judged = check_folder(tmp_path)
    assert judged.report.verdict == "fail"
    failed = {c.id for c in judged.report.checks if c.result == "fail"}
    assert {"dwi.dropout_fraction", "dwi.EchoTime"} <= failed


@pytest.mark.slow
def test_the_diffusion_study_meets_the_protocol(tmp_path: Path) -> None:
    assert len(write_study(study(StudyKind.DIFFUSION, 4), tmp_path)) == 2112 == study(StudyKind.DIFFUSION, 4).images
    judged = check_folder(tmp_path)
    assert judged.report.profile == "dmri-parkinsonism"
    assert judged.report.verdict == "pass"


def test_diffusion_follows_the_fibres() -> None:
    along = head.attenuation(1000, np.array([1.0, 0, 0]))
    across = head.attenuation(1000, np.array([0, 0, 1.0]))
    assert along[head.TRACT_LR] < across[head.TRACT_LR]
    assert along[head.TRACT_SI] > across[head.TRACT_SI]
    assert along[head.CORTEX] == across[head.CORTEX]
    assert head.attenuation(0, np.array([1.0, 0, 0])).tolist() == [1.0] * len(head.TISSUES)


def test_directions_are_unit_vectors_that_determine_a_tensor() -> None:
    vectors = head.directions(30)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    x, y, z = vectors.T
    assert np.linalg.cond(np.stack([x * x, y * y, z * z, 2 * x * y, 2 * x * z, 2 * y * z], 1)) < 3


def test_noise_is_rician() -> None:
    air = head.scan(np.zeros((4, 128, 128), np.float32), 40.0, np.random.default_rng(1))
    assert air.mean() == pytest.approx(40 * np.sqrt(np.pi / 2), rel=0.02)  # mean of a Rayleigh distribution


@pytest.mark.parametrize("kind", [StudyKind.T1, StudyKind.INCOMPLETE, StudyKind.DROPOUTS])
def test_a_study_knows_how_many_images_it_has(kind: StudyKind, tmp_path: Path) -> None:
    one = study(kind)
    assert len(write_study(one, tmp_path)) == one.images
