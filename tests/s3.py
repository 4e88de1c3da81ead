"""A real S3 server (SeaweedFS) for every test folder that needs one.

A folder publishes the fixtures in its ``conftest.py``: ``from tests.s3 import bucket_prefix, cloud_settings, s3_server``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.config import CloudSettings
from agent.demo.s3_server import S3Server, find_weed
from agent.errors import ConfigError
from tests.conftest import require


def start_server(folder: Path) -> S3Server:
    """A running server; skips when the extra ``demo`` is not installed."""
    try:
        find_weed()
    except ConfigError as error:
        require(False, str(error))
    return S3Server(folder).start()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One server for the session; tests that stop it start it again."""
    server = start_server(tmp_path_factory.mktemp("s3"))
    yield server
    server.stop()


@pytest.fixture
def cloud_settings(s3_server: S3Server) -> CloudSettings:
    """Settings that lead to the server, with short delays."""
    return s3_server.start().settings(retry_first_s=0.05, retry_max_s=0.2, poll_s=0.1, multipart_bytes=5_242_880)
