"""Keys and rules for tests of de-identification."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydicom import config

from agent.deid.pseudonyms import PseudonymKeys
from agent.deid.rules.compile import Rules, compile_rules


@pytest.fixture
def keys() -> PseudonymKeys:
    """A site's keys."""
    return PseudonymKeys(b"0123456789abcdef0123456789abcdef", 1, "ANON", "shift")


@pytest.fixture
def rules() -> Rules:
    """The shipped profile, compiled."""
    return compile_rules("basic", "shift")


@pytest.fixture(autouse=True)
def _any_value(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """pydicom writes what the tests plant, valid or not."""
    monkeypatch.setattr(config.settings, "reading_validation_mode", config.IGNORE)
    monkeypatch.setattr(config.settings, "writing_validation_mode", config.IGNORE)
    yield
