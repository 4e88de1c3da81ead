"""The S3 server of the upload tests."""

from tests.s3 import cloud_settings, s3_server

__all__ = ["cloud_settings", "s3_server"]
