"""The installation that tests of the dashboard share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from agent.web.pages.account import limiter

from tests.web.hospital import Hospital


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[Hospital]:
    found = Hospital(tmp_path)
    yield found
    found.close()


@pytest.fixture(autouse=True)
def _fresh_limits() -> Iterator[None]:
    yield
    if limiter._storage is not None:
        limiter.reset()
