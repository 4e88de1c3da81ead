"""The S3 server is gone for a while in the middle of an upload; the study is delivered all the same, each object once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.demo.s3_server import S3Server
from tests.dicom_files import make_series
from tests.path.agent_process import AgentProcess, wait_until
from tests.path.cloud_path import AnalysisService, as_wire, bucket_objects, cloud_environment
from tests.raw_sender import send_all

MakeAgent = Callable[..., AgentProcess]
IMAGES = 60


@pytest.mark.timeout(400)
def test_an_outage_in_the_middle_of_an_upload_delays_and_loses_nothing(make_agent: MakeAgent, tmp_path: Path) -> None:
    with S3Server(tmp_path / "s3", bucket="outage") as server:
        agent = make_agent(**cloud_environment(server), cloud__connections=1)
        with agent, AnalysisService(server, tmp_path / "analysis.log"):
            series = make_series(IMAGES, shape=(256, 256))
            assert set(send_all(agent.dicom, [as_wire(ds) for ds in series])) == {0}
            study = agent.let_pass()

            def in_the_middle() -> bool:
                upload = agent.api(f"studies/{study['id']}").get("upload") or {}
                return 0 < upload.get("done_objects", 0) < IMAGES

            wait_until(in_the_middle, "an upload in its middle")
            server.kill()
            wait_until(
                lambda: (agent.api(f"studies/{study['id']}").get("upload") or {}).get("problem"), "the outage is told"
            )
            server.start()
            agent.wait_for_status("delivered", timeout_s=150)
            objects = bucket_objects(server)
            manifest = json.loads(next(body for key, (body, _) in objects.items() if key.endswith("manifest.json")))
            sent = {k: b for k, (b, _) in objects.items() if "/instances/" in k}
            assert len(sent) == len(manifest["objects"]) == IMAGES
            for row in manifest["objects"]:
                key = next(k for k in sent if k == row["key"] or k.endswith(f"/{row['key']}"))
                assert hashlib.sha256(sent[key]).hexdigest() == row["sha256"]
            # a second order would be a second result
            assert len({k.split("/")[1] for k in sent}) == 1
