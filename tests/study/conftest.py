"""Fixtures of the life of a study."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tests.s3 import s3_server  # noqa: F401
from tests.study.agents import shared_kernels


@pytest.fixture(scope="session", autouse=True)
def compiled_kernels() -> None:
    """Compile the kernels before the first study waits for them: on a busy machine that takes minutes."""
    code = "import pathlib, sys; from agent.qc.worker import warm_worker; warm_worker(pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(shared_kernels())], check=True, timeout=900, capture_output=True)
