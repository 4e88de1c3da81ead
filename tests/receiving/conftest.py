"""Every test that receives runs on both receive paths."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.receiving import books


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if hasattr(metafunc.module, "receiving"):
        metafunc.parametrize("receive_path", ["fast", "stock"], indirect=True, scope="module")


@pytest.fixture(scope="module", autouse=True)
def receive_path(request: pytest.FixtureRequest) -> Iterator[str]:
    """The path that is under test."""
    name = getattr(request, "param", "fast")
    books.defaults["fast_path"] = name == "fast"
    yield name
    books.defaults["fast_path"] = True
