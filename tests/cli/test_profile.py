"""``agent profile``: check, list, show."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.errors import ConfigError
from tests.cli.test_qc import run
from tests.dicom_files import write_series
from tests.qc.studies import t1_series


def test_a_shipped_profile_can_be_used() -> None:
    code, out = run("profile", "check", "dmri-parkinsonism")
    assert code == 0
    assert out.startswith("dmri-parkinsonism 2026.05 can be used: 1 rules")


def test_a_bad_profile_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(
        '[profile]\nid = "x"\nversion = "1"\n[[sequence]]\nname = "a"\nclass = "dwi"\n[sequence.parameters]\nEchoTme = {min=1}\n'
    )
    with pytest.raises(ConfigError) as error:
        run("profile", "check", path)
    assert str(error.value).count("\n") == 0
    assert "EchoTme is no DICOM keyword. Did you mean EchoTime?" in str(error.value)
    assert error.value.exit_code == 3


def test_everything_that_is_wrong_with_a_profile_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text('[profile]\nid = "x"\ntitel = "y"\n[[sequence]]\nname = "a"\nclass = "dwi"\ngoal = 1\n')
    with pytest.raises(ConfigError) as error:
        run("profile", "check", path)
    lines = str(error.value).splitlines()
    assert len(lines) == 3, lines
    assert "more)" not in str(error.value)
    assert all(line.startswith(f"Profile {path}: ") for line in lines)
    assert "titel is not a key of a profile. Did you mean title?" in lines[0]
    assert "goal is not a key" in lines[1]
    assert "profile.version: Field required." in lines[2]


def test_a_dry_run_says_which_rule_a_series_falls_under(tmp_path: Path) -> None:
    write_series(tmp_path, t1_series(4))
    out = run("profile", "check", "mr-brain", "--study", tmp_path, "--json")[1]
    assert [(s["label"], s["rule"]) for s in json.loads(out)["series"]] == [("Series 1 (T1)", "Series")]


def test_profiles_are_listed_with_those_of_the_site(tmp_path: Path) -> None:
    (tmp_path / "ours.toml").write_text('[profile]\nid = "ours"\nversion = "7"\nextends = "mr-brain"\n')
    rows = json.loads(run("profile", "list", "--profiles", tmp_path, "--json")[1])
    assert {"ours", "mr-brain", "ct-head", "dmri-parkinsonism", "integrity"} == {row["id"] for row in rows}


def test_a_profile_is_shown_in_words() -> None:
    out = run("profile", "show", "dmri-parkinsonism")[1]
    assert "Echo Time: 55 to 104 ms [major]" in out
    assert "Different directions: at least 30 [major]" in out
