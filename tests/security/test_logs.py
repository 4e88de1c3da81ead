"""Logs may leave the hospital: nothing in them tells who the patient is, not even a failure's details."""

from __future__ import annotations

import pytest

from agent.errors import BadDataset
from agent.logs import configure_logs, get_logger


def fail_with(patient: str) -> None:
    name = f"{patient}^LOCAL"
    raise ValueError(f"cannot decode {name}")


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_an_exception_shows_places_and_no_values(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("debug", log_format)
    try:
        try:
            fail_with("SECRETNAME")
        except ValueError as error:
            raise BadDataset("A data set cannot be read.") from error
    except BadDataset:
        get_logger("test").error("failed", exc_info=True)
    text = capsys.readouterr().err
    assert "SECRETNAME" not in text
    assert "fail_with" in text
    assert "builtins.ValueError" in text
    assert "A data set cannot be read." in text


def test_forbidden_keys_and_uids_are_masked(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info", "json")
    get_logger("test").info(
        "seen", patient="SECRETNAME", note="of 1.2.826.0.1.3680043.2.1143.7.5", syntax="1.2.840.10008.1.2.1"
    )
    text = capsys.readouterr().err
    assert "SECRETNAME" not in text
    assert "3680043" not in text
    assert "1.2.840.10008.1.2.1" in text
