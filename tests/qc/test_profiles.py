"""Profiles are data: every key is checked, a typo is an error with a suggestion, sites may extend."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import ConfigError
from agent.qc.checks.bands import Band
from agent.qc.profile import StudyContent, all_profiles, choose_profile, load_profile, shipped_names
from agent.qc.profiles.model import Limit
from agent.qc.profiles.words import words_of

BASE = '[profile]\nid = "site"\nversion = "1"\nmodality = ["MR"]\n'
RULE = BASE + '[[sequence]]\nname = "DWI"\nclass = "dwi"\n'


def write(folder: Path, text: str, name: str = "site") -> str:
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_shipped_profiles_can_be_used() -> None:
    assert shipped_names() == ["ct-head", "dmri-parkinsonism", "integrity", "mr-brain"]
    for profile in all_profiles():
        assert len(profile.sha256) == 64
        assert words_of(profile)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BASE + "[integrty]\nallow_lossy = true\n", "integrty is not a key of a profile. Did you mean integrity?"),
        (
            RULE + "[sequence.parameters]\nEchoTme = { min = 1 }\n",
            "EchoTme is no DICOM keyword. Did you mean EchoTime?",
        ),
        (
            RULE + "[sequence.parameters]\nPatientComments = { one_of = ['x'] }\n",
            "not among the elements that are read",
        ),
        (RULE + "[sequence.parameters]\nEchoTime = { mim = 1 }\n", "Did you mean min?"),
        (RULE + "[sequence.parameters]\nEchoTime = { severity = 'major' }\n", "says no limit"),
        (RULE + "[sequence.parameters]\nEchoTime = { min = 9, max = 1 }\n", "min above max"),
        (RULE + "[sequence.metrics]\nnoise_pc = { warn = 1 }\n", "noise_pc is no metric. Did you mean noise_pct?"),
        (RULE + "[sequence.metadata]\nrequired = ['PatientAgee']\n", "Did you mean PatientAge?"),
        (RULE.replace('"dwi"', '"dwj"'), "class"),
        ("[profile\n", "not valid TOML"),
        ('[profile]\nid = "Bad Name"\nversion = "1"\n', "profile.id"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_profile(write(tmp_path, text))
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 3


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean mr-brain"):
        load_profile("mr-brian")


def test_a_site_extends_a_shipped_profile(tmp_path: Path) -> None:
    own = '[profile]\nid = "mr-brain"\nversion = "site-3"\nextends = "mr-brain"\n'
    own += '[[sequence]]\nname = "Series"\n[sequence.parameters]\nSliceThickness = { max = 2.0 }\n'
    write(tmp_path, own, "mr-brain")
    shipped, site = load_profile("mr-brain"), load_profile("mr-brain", tmp_path)
    assert site.version == "site-3"
    assert site.sha256 != shipped.sha256
    rule = site.profile.sequence[0]
    assert rule.parameters["SliceThickness"].max == 2.0
    assert set(rule.metrics) == set(shipped.profile.sequence[0].metrics)
    assert [p.version for p in all_profiles(tmp_path) if p.id == "mr-brain"] == ["site-3"]


def test_profiles_that_extend_each_other_are_refused(tmp_path: Path) -> None:
    write(tmp_path, '[profile]\nid = "a"\nversion = "1"\nextends = "b"\n', "a")
    write(tmp_path, '[profile]\nid = "b"\nversion = "1"\nextends = "a"\n', "b")
    with pytest.raises(ConfigError, match="circle"):
        load_profile("a", tmp_path)


def content(**changes: object) -> StudyContent:
    values: dict[str, object] = {
        "modality": "MR", "classes": frozenset({"t1"}), "body_parts": frozenset({"BRAIN"}), "directions": 0, "fov_mm": 240.0,
    }  # fmt: skip
    return StudyContent(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "mr-brain"),
        ({"classes": frozenset({"t1", "dwi"}), "directions": 30}, "dmri-parkinsonism"),
        ({"classes": frozenset({"dwi"}), "directions": 3}, "mr-brain"),
        ({"body_parts": frozenset({"KNEE"})}, "integrity"),
        ({"body_parts": frozenset()}, "mr-brain"),
        ({"modality": "CT", "classes": frozenset({"ct"})}, "ct-head"),
        ({"modality": "CT", "classes": frozenset({"ct"}), "body_parts": frozenset(), "fov_mm": 450.0}, "integrity"),
        ({"modality": "", "classes": frozenset()}, "integrity"),
    ],
)
def test_the_profile_follows_from_what_the_study_holds(changes: dict[str, object], name: str) -> None:
    assert choose_profile(content(**changes)).id == name


def test_the_required_classes_are_known_to_the_judges_of_completeness() -> None:
    loaded = load_profile("dmri-parkinsonism")
    assert loaded.required_classes() == ("dwi",)
    need = loaded.diffusion_need()
    assert need is not None
    assert (need.shells, need.b0_min, need.directions_min) == ((0.0, 1000.0), 2, 30)


def test_ranges_are_inclusive_and_tolerate_how_scanners_write_numbers() -> None:
    band = Limit(min=6000, max=6400).band()
    assert band is not None
    assert band.judge(6400.0009765625) == ("pass", 1.0)
    assert band.judge(6000) == ("pass", 1.0)
    assert band.judge(6401)[0] == "fail"


def test_between_warn_and_fail_the_share_falls_in_a_line() -> None:
    band = Limit(value=90, tol=2, fail_tol=5).band()
    assert band is not None
    assert band.judge(92)[0] == "pass"
    result, share = band.judge(93.5)
    assert (result, round(share, 3)) == ("warn", 0.5)
    assert band.judge(95) == ("warn", 0.0)
    assert band.judge(95.1)[0] == "fail"
    margin = Limit(min=100, warn_margin="2%").band()
    assert margin is not None
    assert [margin.judge(v)[0] for v in (100, 99, 98, 97)] == ["pass", "warn", "warn", "fail"]


@given(st.floats(-1e6, 1e6), st.floats(0, 1e5), st.floats(0, 1e5))
def test_a_share_never_leaves_zero_to_one(value: float, low: float, width: float) -> None:
    result, share = Band(low=low, high=low + width, fail_low=low - width, fail_high=low + 2 * width).judge(value)
    assert 0 <= share <= 1
    assert (result == "pass") == (share == 1.0 and result != "warn") or result == "warn"
