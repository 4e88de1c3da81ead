"""An agent with a real bucket and a real analysis service beside it."""

from __future__ import annotations

import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import boto3
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite

from agent.demo.s3_server import S3Server
from tests.raw_sender import WireObject

EXPLICIT = "1.2.840.10008.1.2.1"


def cloud_environment(server: S3Server) -> dict[str, object]:
    """Settings of the agent that lead to this server."""
    return {
        "cloud__adapter": "s3",
        "cloud__endpoint_url": server.endpoint_url,
        "cloud__bucket": server.bucket,
        "cloud__access_key_id": server.access_key_id,
        "cloud__secret_access_key": server.secret_access_key,
        "cloud__poll_s": 0.5,
        "cloud__retry_first_s": 0.2,
        "cloud__retry_max_s": 1,
    }


def as_wire(ds: Dataset) -> WireObject:
    buffer = BytesIO()
    dcmwrite(buffer, ds, implicit_vr=False, little_endian=True)
    return WireObject(ds.SOPClassUID, ds.SOPInstanceUID, EXPLICIT, buffer.getvalue())


class AnalysisService:
    """The reference analysis service as a process of its own."""

    def __init__(self, server: S3Server, log: Path) -> None:
        self.server, self.log = server, log

    def __enter__(self) -> AnalysisService:
        import os

        environment = {
            **os.environ,
            "AWS_ACCESS_KEY_ID": self.server.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.server.secret_access_key,
        }
        command = [
            "-m",
            "agent.demo.analysis_service",
            "--endpoint",
            self.server.endpoint_url,
            "--bucket",
            self.server.bucket,
        ]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([sys.executable, *command], env=environment, stdout=log, stderr=log)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(20)


def bucket_client(server: S3Server) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=server.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id=server.access_key_id,
        aws_secret_access_key=server.secret_access_key,
    )


def bucket_objects(server: S3Server) -> dict[str, tuple[bytes, dict[str, str]]]:
    """Every object of the bucket: key to body and metadata."""
    client = bucket_client(server)
    found = {}
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=server.bucket):
        for item in page.get("Contents", []):
            answer = client.get_object(Bucket=server.bucket, Key=item["Key"])
            found[item["Key"]] = (answer["Body"].read(), answer["Metadata"])
    return found
