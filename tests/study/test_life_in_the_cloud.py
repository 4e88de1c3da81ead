"""Upload, result and cancellation with a real S3 server; the analysis is played by the test."""

from __future__ import annotations

import json
from pathlib import Path

from agent.cloud.package import cancel_key, manifest_key, results_prefix
from agent.cloud.s3 import S3Cloud
from agent.demo.s3_server import S3Server
from agent.store import jobs, reports
from agent.study import StudyStatus
from tests.dicom_files import make_image, write_series
from tests.study.agents import Agent, made_study, running, settings_for, wait_until

PDF = b"%PDF-1.4\nmade for a test\n%%EOF\n"


class Analysis:
    """Writes what an analysis service would write."""

    def __init__(self, server: S3Server) -> None:
        import boto3

        self._bucket = server.bucket
        self._client = boto3.client(
            "s3", endpoint_url=server.endpoint_url, region_name="us-east-1",
            aws_access_key_id=server.access_key_id, aws_secret_access_key=server.secret_access_key,
        )  # fmt: skip

    def put(self, order: str, name: str, body: bytes) -> None:
        self._client.put_object(Bucket=self._bucket, Key=results_prefix(order) + name, Body=body)

    def status(self, order: str, status: str, progress: int = 0) -> None:
        self.put(order, "status.json", json.dumps({"status": status, "progress": progress}).encode())


def cloud_agent(tmp_path: Path, s3_server: S3Server, **sections: object) -> object:
    cloud = s3_server.settings(poll_s=0.1, retry_first_s=0.1, retry_max_s=0.5).model_dump()
    return settings_for(tmp_path, cloud=cloud, qc={"gate": False}, **sections)


def uploaded(agent: Agent, tmp_path: Path) -> tuple[str, str]:
    uid, paths = made_study(tmp_path / "files")
    assert agent.send(*paths).ok
    row = agent.wait_for(uid, StudyStatus.PENDING)
    assert row.order_id
    return uid, row.order_id


def test_a_study_that_passes_is_uploaded_analysed_and_delivered(tmp_path: Path, s3_server: S3Server) -> None:
    analysis = Analysis(s3_server)
    with running(cloud_agent(tmp_path, s3_server)) as agent:
        uid, order = uploaded(agent, tmp_path)
        manifest = S3Cloud(agent.settings.cloud).head(manifest_key(order))
        assert manifest is not None
        analysis.status(order, "processing", 40)
        agent.wait_for(uid, StudyStatus.PROCESSING)
        wait_until(lambda: agent.study(uid).cloud_progress == 40, "progress")
        analysis.put(order, "report.pdf", PDF)
        analysis.status(order, "done", 100)
        row = agent.wait_for(uid, StudyStatus.DELIVERED)
        assert [r.name for r in agent.read(lambda: reports.read_reports(row.id))] == ["report.pdf"]
        assert agent.read(lambda: jobs.read_deid_actions(row.id, 1))
        assert not agent.read(lambda: jobs.living_jobs(row.id))
        statuses = [line.to_status for line in agent.history(uid)]
        assert statuses == [
            "receiving", "unstable", "stable", "qc_passed", "uploading", "pending", "processing", "delivered",
        ]  # fmt: skip


def test_a_failed_analysis_shows_its_reason_and_can_be_retried(tmp_path: Path, s3_server: S3Server) -> None:
    analysis = Analysis(s3_server)
    with running(cloud_agent(tmp_path, s3_server)) as agent:
        uid, order = uploaded(agent, tmp_path)
        failure = {"class": "bad_input", "description": "Too few volumes.", "remediation": "Scan again."}
        analysis.put(order, "failure.json", json.dumps(failure).encode())
        analysis.status(order, "failed")
        row = agent.wait_for(uid, StudyStatus.FAILED)
        assert (row.failed_step, row.failure_code) == ("analysis", "bad_input")
        assert row.failure_text == "Too few volumes. Scan again."
        assert agent.command(uid, "retry").startswith("done")
        row = agent.wait_for(uid, StudyStatus.PENDING)
        assert row.order_id != order


def test_a_cancelled_order_is_declared_void(tmp_path: Path, s3_server: S3Server) -> None:
    with running(cloud_agent(tmp_path, s3_server)) as agent:
        uid, order = uploaded(agent, tmp_path)
        assert agent.command(uid, "cancel").startswith("done")
        row = agent.wait_for(uid, StudyStatus.FAILED)
        assert row.failed_step == "cancelled"
        cloud = S3Cloud(agent.settings.cloud)
        wait_until(lambda: cloud.head(cancel_key(order)), "the mark of a void order")


def test_a_late_image_voids_the_order_and_supersedes_the_report(tmp_path: Path, s3_server: S3Server) -> None:
    analysis = Analysis(s3_server)
    with running(cloud_agent(tmp_path, s3_server)) as agent:
        uid, order = uploaded(agent, tmp_path)
        analysis.put(order, "report.pdf", PDF)
        analysis.status(order, "done", 100)
        agent.wait_for(uid, StudyStatus.DELIVERED)
        assert agent.send(*write_series(tmp_path / "late", [make_image(study_uid=uid, number=9)])).ok
        row = agent.wait_for(uid, StudyStatus.PENDING, revision=2)
        assert row.order_id != order
        assert not any(r.superseded for r in agent.read(lambda: reports.read_reports(row.id)))
        assert agent.send(*write_series(tmp_path / "later", [make_image(study_uid=uid, number=11)])).ok
        third = agent.wait_for(uid, StudyStatus.PENDING, revision=3)
        cloud = S3Cloud(agent.settings.cloud)
        wait_until(lambda: cloud.head(cancel_key(row.order_id)), "the second order is void")
        analysis.put(third.order_id, "report.pdf", PDF)
        analysis.status(third.order_id, "done", 100)
        agent.wait_for(uid, StudyStatus.DELIVERED, revision=3)
        found = {r.revision: r.superseded for r in agent.read(lambda: reports.read_reports(row.id))}
        assert found == {1: True, 3: False}


def test_an_outage_is_shown_and_the_upload_goes_on_afterwards(tmp_path: Path, s3_server: S3Server) -> None:
    with running(cloud_agent(tmp_path, s3_server)) as agent:
        s3_server.stop()
        try:
            uid, paths = made_study(tmp_path / "files")
            assert agent.send(*paths).ok
            agent.wait_for(uid, StudyStatus.UPLOADING)
            wait_until(lambda: agent.study(uid).upload_problem, "the problem is shown")
        finally:
            s3_server.start()
        row = agent.wait_for(uid, StudyStatus.PENDING)
        wait_until(lambda: not agent.study(uid).upload_problem, "the problem is over")
        assert row.upload_done_objects == row.upload_total_objects


def test_a_hold_pauses_the_upload_and_a_release_lets_it_go_on(tmp_path: Path, s3_server: S3Server) -> None:
    with running(cloud_agent(tmp_path, s3_server)) as agent:
        s3_server.stop()
        try:
            uid, paths = made_study(tmp_path / "files")
            assert agent.send(*paths).ok
            agent.wait_for(uid, StudyStatus.UPLOADING)
            assert agent.command(uid, "hold").startswith("done")
        finally:
            s3_server.start()
        held = agent.study(uid)
        assert held.status is StudyStatus.UPLOADING
        assert agent.command(uid, "release").startswith("done")
        assert agent.wait_for(uid, StudyStatus.PENDING).order_id == held.order_id
