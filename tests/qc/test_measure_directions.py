"""Metrics move the right way when an image gets worse, and stay where they are under the sham control."""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from agent.qc.measure import measure_file
from agent.qc.measurement import FrameNumbers

PHANTOM = ("--matrix", 128, "--slices", 10, "--thickness", 8)


def run_tool(shared: Path, name: str, *arguments: object) -> None:
    done = subprocess.run(
        [sys.executable, str(shared / "tools" / name), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr


def frames(folder: Path) -> list[FrameNumbers]:
    found = [measure_file(path) for path in sorted(folder.rglob("*.dcm"))]
    found.sort(key=lambda m: m.headers.frames[0].slice_location_mm or 0.0)
    assert found
    return [frame for m in found for frame in m.frames if isinstance(frame, FrameNumbers)]


def middle(found: list[FrameNumbers], name: str) -> float:
    """Median over the middle 60 % of slices."""
    cut = len(found) // 5
    numbers = [getattr(frame, name) for frame in found[cut : len(found) - cut]]
    return statistics.median(number for number in numbers if isinstance(number, float))


@pytest.fixture(scope="module", params=["phantom", "real"])
def clean(request, shared_folder: Path, tmp_path_factory) -> Path:
    if request.param == "real":
        return shared_folder / "data/mr_brain_t1/siemens_prisma_t1_2d_sag"
    out = tmp_path_factory.mktemp("phantom")
    run_tool(shared_folder, "phantom.py", out / "p", "--protocol", "t2", *PHANTOM, "--seed", 5081)
    return next((out / "p").glob("study_*/*"))


@pytest.fixture(scope="module")
def baseline(clean: Path) -> list[FrameNumbers]:
    return frames(clean)


def degraded(shared: Path, clean: Path, tmp_path: Path, mode: str, *options: object) -> list[FrameNumbers]:
    run_tool(shared, "degrade.py", mode, clean, tmp_path / "out", "--seed", 733, *options)
    return frames(tmp_path / "out")


def test_the_control_changes_nothing(shared_folder, clean, baseline, tmp_path):
    found = degraded(shared_folder, clean, tmp_path, "control")
    assert [frame.digest for frame in found] == [frame.digest for frame in baseline]


def test_noise_raises_noise_and_lowers_snr(shared_folder, clean, baseline, tmp_path):
    found = degraded(shared_folder, clean, tmp_path, "noise", "--sigma", 0.1)
    assert middle(found, "noise_laplacian_pct") > 1.5 * middle(baseline, "noise_laplacian_pct")
    assert middle(found, "noise_air") > 1.5 * middle(baseline, "noise_air")
    assert middle(found, "snr_air") < middle(baseline, "snr_air")
    assert middle(found, "gradient_entropy") > middle(baseline, "gradient_entropy")


def test_motion_blurs_edges_and_spreads_gradients(shared_folder, clean, baseline, tmp_path):
    found = degraded(shared_folder, clean, tmp_path, "motion", "--severity", 0.5)
    assert middle(found, "sharpness") < middle(baseline, "sharpness")
    assert middle(found, "gradient_entropy") > middle(baseline, "gradient_entropy")


def test_a_ghost_shows_along_the_phase_direction(shared_folder, clean, baseline, tmp_path):
    found = degraded(shared_folder, clean, tmp_path, "ghost", "--level", 0.1)
    assert middle(found, "ghost_pe_pct") > middle(baseline, "ghost_pe_pct") + 1
    assert middle(found, "ghost_half_fov") > middle(baseline, "ghost_half_fov")


def test_low_contrast_lowers_the_distance_of_classes(shared_folder, clean, baseline, tmp_path):
    found = degraded(shared_folder, clean, tmp_path, "low-contrast", "--factor", 0.15)
    spread = [
        (f.core_p98 - f.core_p02) / f.core_median
        for f in found
        if isinstance(f.core_median, float) and f.core_median > 0
    ]
    before = [
        (f.core_p98 - f.core_p02) / f.core_median
        for f in baseline
        if isinstance(f.core_median, float) and f.core_median > 0
    ]
    assert statistics.median(spread) < statistics.median(before)


def test_clipping_makes_a_plateau(shared_folder, clean, baseline, tmp_path):
    found = degraded(shared_folder, clean, tmp_path, "clip")
    assert max(f.plateau_share for f in found) > 20 * max(f.plateau_share for f in baseline)


def test_a_blanked_slice_is_blank_and_others_are_not(shared_folder, clean, baseline, tmp_path):
    found = degraded(shared_folder, clean, tmp_path, "blank", "--k", 2)
    assert sum(f.is_blank for f in found) == sum(f.is_blank for f in baseline) + 2


def test_duplicated_slices_share_their_digest(shared_folder, clean, baseline, tmp_path):
    found = degraded(shared_folder, clean, tmp_path, "duplicate", "--k", 2)
    assert len(found) - len({f.digest for f in found}) == len(baseline) - len({f.digest for f in baseline}) + 2


@pytest.mark.parametrize("mas", [60, 240])
def test_ct_numbers_of_a_phantom_are_right(shared_folder, tmp_path, mas):
    run_tool(
        shared_folder, "phantom.py", tmp_path / "p", "--protocol", "ct", "--matrix", 256, "--slices", 6,
        "--thickness", 20, "--seed", 917, "--mas", mas,
    )  # fmt: skip
    found = frames(tmp_path / "p")
    assert middle(found, "air_hu") == pytest.approx(-1000, abs=25)
    assert middle(found, "soft_tissue_hu") == pytest.approx(33, abs=8)
    assert all(f.metal_share == 0 for f in found)
    assert middle(found, "truncation_share") < 0.02


def test_ct_noise_falls_with_the_square_root_of_dose(shared_folder, tmp_path):
    noise = []
    for mas in (60, 240):
        run_tool(
            shared_folder, "phantom.py", tmp_path / str(mas), "--protocol", "ct", "--matrix", 256, "--slices", 6,
            "--thickness", 20, "--seed", 31, "--mas", mas,
        )  # fmt: skip
        noise.append(middle(frames(tmp_path / str(mas)), "noise_hu"))
    assert 1.6 < noise[0] / noise[1] < 2.4
