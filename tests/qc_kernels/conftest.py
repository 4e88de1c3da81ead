"""Kernels are compiled once for all tests, into the cache that commands use."""

from __future__ import annotations

import pytest

from agent.qc_kernels.cache import use_cache, user_cache, warm_cache

use_cache(user_cache())


@pytest.fixture(scope="session", autouse=True)
def _compiled_kernels() -> None:
    warm_cache(user_cache())
