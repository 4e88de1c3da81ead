"""kill -9 in mid-upload: the order goes on where it was, and each object is in the bucket once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent.cloud.contract import StoredObject
from agent.cloud.s3 import S3Cloud
from agent.demo.s3_server import S3Server
from agent.dicom.scu import SendRequest, send
from tests.path.agent_process import AgentProcess, wait_until
from tests.study.agents import made_study, share_compiled_kernels

IMAGES = 60


@pytest.fixture
def agent(tmp_path: Path, s3_server: S3Server) -> Iterator[AgentProcess]:
    share_compiled_kernels(tmp_path / "data")
    settings = s3_server.start().settings(connections=1, retry_first_s=0.1, retry_max_s=0.5, poll_s=0.2)
    names = ("adapter", "endpoint_url", "bucket", "connections", "retry_first_s", "retry_max_s", "poll_s")
    served = AgentProcess(
        tmp_path,
        qc__gate="false",
        dicom__receivers=1,
        cloud__access_key_id=s3_server.access_key_id,
        cloud__secret_access_key=s3_server.secret_access_key,
        **{f"cloud__{name}": getattr(settings, name) for name in names},
    )
    yield served
    served.stop()


def test_an_upload_goes_on_after_a_kill_and_sends_nothing_twice(
    tmp_path: Path, agent: AgentProcess, s3_server: S3Server
) -> None:
    cloud = S3Cloud(s3_server.settings())
    known = set(cloud.list_objects("studies/"))

    def objects() -> dict[str, StoredObject]:
        found = cloud.list_objects("studies/")
        return {key: stored for key, stored in found.items() if key not in known and "/instances/" in key}

    agent.start()
    _, paths = made_study(tmp_path / "files", images=IMAGES, shape=(16, 16))
    host, port = agent.dicom
    assert send(paths, SendRequest(host, port, "NEUROPACS_AGENT", "TEST")).ok
    before = wait_until(lambda: (found := objects()) and len(found) >= 3 and found, "some objects are there")
    agent.kill()
    before = objects()
    assert 3 <= len(before) < IMAGES
    agent.start()
    agent.wait_for_status("pending")
    after = objects()
    assert len(after) == IMAGES
    assert {key: stored for key, stored in after.items() if key in before} == before
    (manifest,) = [key for key in cloud.list_objects("studies/") if key.endswith("manifest.json") and key not in known]
    body = json.loads(raw(s3_server, manifest))
    assert sorted(entry["key"] for entry in body["objects"]) == sorted(after)


def raw(server: S3Server, key: str) -> bytes:
    import boto3

    client = boto3.client(
        "s3", endpoint_url=server.endpoint_url, region_name="us-east-1",
        aws_access_key_id=server.access_key_id, aws_secret_access_key=server.secret_access_key,
    )  # fmt: skip
    return bytes(client.get_object(Bucket=server.bucket, Key=key)["Body"].read())
