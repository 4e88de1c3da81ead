"""Fixtures of the tests that end and start the agent."""

from tests.s3 import s3_server  # noqa: F401
from tests.study.conftest import compiled_kernels  # noqa: F401
