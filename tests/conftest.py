"""Fixtures that all tests share: where real data is, and when a skip is a failure."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

STRICT = os.environ.get("AGENT_TEST_STRICT") == "1"


def require(condition: bool, reason: str) -> None:
    """Skip when something optional is missing; fail instead where everything must be there."""
    if condition:
        return
    if STRICT:
        pytest.fail(f"AGENT_TEST_STRICT is set and {reason}")
    pytest.skip(reason)


def program(name: str) -> str:
    """Path of a system program; never one that a Python package put into the environment."""
    path = shutil.which(name, path="/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
    require(path is not None, f"{name} is not installed")
    assert path is not None
    return path


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """The folder that holds ``data/`` and ``tools/``."""
    folder = os.environ.get("AGENT_TEST_DATA")
    if not folder or not Path(folder, "data").is_dir():
        # only the strict run knows that the data is there
        require(False, "AGENT_TEST_DATA does not name a folder with real data") if folder else pytest.skip(
            "AGENT_TEST_DATA is not set"
        )
    return Path(str(folder)).absolute()


@pytest.fixture(scope="session")
def real_data(shared_folder: Path) -> Path:
    """Real DICOM files (``AGENT_TEST_DATA/data``)."""
    return shared_folder / "data"


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No setting of the machine leaks into a test."""
    for name in list(os.environ):
        if name.startswith("AGENT_") and not name.startswith("AGENT_TEST"):
            monkeypatch.delenv(name)
    yield
