"""Fixtures of the life of a study."""

from tests.s3 import s3_server  # noqa: F401
