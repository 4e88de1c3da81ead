"""What every test of security starts with."""

from __future__ import annotations

import pytest

from agent.logs import configure_logs


@pytest.fixture(autouse=True)
def _own_log() -> None:
    """Log to this test's own stream: a test that captures its output closes the one it configured."""
    configure_logs()
