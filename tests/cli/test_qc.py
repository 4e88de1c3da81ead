"""``agent qc``: exit codes, JSON, page and PDF."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from agent.cli import agent
from agent.errors import AgentError, ConfigError
from tests.dicom_files import write_series
from tests.qc.studies import t1_series


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(agent, [str(a) for a in arguments], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return int(result.return_value or 0), result.stdout


@pytest.fixture
def good(tmp_path: Path) -> Path:
    write_series(tmp_path / "good", t1_series(8))
    return tmp_path / "good"


@pytest.fixture
def holed(tmp_path: Path) -> Path:
    series = t1_series(8)
    del series[4]
    write_series(tmp_path / "holed", series)
    return tmp_path / "holed"


def test_a_good_folder_passes_with_zero(good: Path) -> None:
    code, out = run("qc", good)
    assert code == 0
    assert out.startswith("PASS  score")


def test_a_hole_fails_with_one_and_says_what_to_do(holed: Path) -> None:
    code, out = run("qc", holed)
    assert code == 1
    assert "1 of 8 slices missing" in out
    assert "→ " in out


def test_a_low_score_is_review_with_four(good: Path, tmp_path: Path) -> None:
    profile = tmp_path / "strict.toml"
    profile.write_text(
        '[profile]\nid = "strict"\nversion = "1"\nmodality = ["MR"]\npass_score = 100\n[[sequence]]\nname = "T1"\nclass = "t1"\n'
        '[sequence.parameters]\nEchoTime = { max = 1.0, severity = "minor" }\n'
    )
    assert run("qc", good, "--profile", profile)[0] == 4


def test_a_bad_profile_is_one_line_and_exit_code_three(good: Path, tmp_path: Path) -> None:
    profile = tmp_path / "bad.toml"
    profile.write_text('[profile]\nid = "bad"\nversion = "1"\npas_score = 3\n')
    with pytest.raises(ConfigError, match="Did you mean pass_score") as error:
        run("qc", good, "--profile", profile)
    assert error.value.exit_code == 3


def test_an_empty_folder_is_an_error_not_a_pass(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="no DICOM file"):
        run("qc", tmp_path)


def test_json_page_and_pdf(good: Path, tmp_path: Path) -> None:
    code, out = run("qc", good, "--json", "--html", tmp_path / "r.html", "--pdf", tmp_path / "r.pdf")
    record = json.loads(out)
    assert (code, record["verdict"], record["profile"]) == (0, "pass", "mr-brain")
    assert (tmp_path / "r.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert (tmp_path / "r.pdf").read_bytes().startswith(b"%PDF-")


def test_files_that_are_no_dicom_are_skipped(good: Path) -> None:
    (good / "README.txt").write_text("notes")
    (good / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    assert json.loads(run("qc", good, "--json")[1])["series"][0]["objects"] == 8


def test_the_answer_holds_no_identifier(tmp_path: Path) -> None:
    write_series(
        tmp_path / "s", t1_series(6, patient_id="MARKED-1", patient_name="Marked^Name", SeriesDescription="Markedtext")
    )
    for out in (run("qc", tmp_path / "s")[1], run("qc", tmp_path / "s", "--json")[1]):
        assert "MARKED" not in out
        assert "Marked" not in out
