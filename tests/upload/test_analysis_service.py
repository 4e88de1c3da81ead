"""The reference analysis service, as a process of its own, by nothing but the bucket contract."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.cloud.contract import OrderPhase
from agent.cloud.package import instance_key, manifest_key, results_prefix
from agent.cloud.s3 import S3Cloud
from agent.cloud.upload import Halt, OrderUpload, UploadOutcome
from agent.config import CloudSettings
from agent.demo.s3_server import S3Server
from agent.errors import Permanent
from tests.dicom_files import as_part10, make_series
from tests.upload.ledger import Ledger, Watch, make_order, prepared


class Service:
    def __init__(self, server: S3Server, log: Path) -> None:
        self.environment = {
            **os.environ,
            "AWS_ACCESS_KEY_ID": server.access_key_id,
            "AWS_SECRET_ACCESS_KEY": server.secret_access_key,
        }
        self.command = [sys.executable, "-m", "agent.demo.analysis_service", "--endpoint", server.endpoint_url]
        self.command += ["--bucket", server.bucket, "--poll", "0.1"]
        self.log = log
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, env=self.environment, stdout=log, stderr=log)

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(30)


@pytest.fixture(scope="module")
def service(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    s3_server.start()
    running = Service(s3_server, tmp_path_factory.mktemp("service") / "log")
    yield running
    running.stop()


def send(settings: CloudSettings, files: list[bytes]) -> str:
    order = make_order(len(files))
    hooks = Watch().hooks(lambda planned: prepared(files[planned.number - 1]))
    outcome = OrderUpload(S3Cloud(settings), settings, hooks).run(order, Ledger(), Halt())
    assert outcome is UploadOutcome.COMMITTED
    return order.order


def await_end(settings: CloudSettings, order: str, timeout_s: float = 60):
    cloud, end = S3Cloud(settings), time.monotonic() + timeout_s
    while time.monotonic() < end:
        status = cloud.read_status(order)
        if status is not None and status.phase in (OrderPhase.DONE, OrderPhase.FAILED):
            return status
        time.sleep(0.05)
    raise AssertionError(f"order not finished: {status}")


def report_of(settings: CloudSettings, order: str) -> dict:
    assert await_end(settings, order).phase is OrderPhase.DONE
    files = {file.name: file for file in S3Cloud(settings).fetch_results(order)}
    assert set(files) == {"report.pdf", "report.json", "slices.png"}
    return json.loads(files["report.json"].data)


def series(level: int = 0, count: int = 6) -> list[bytes]:
    files = []
    for ds in make_series(count):
        import numpy as np

        pixels = np.frombuffer(ds.PixelData, "<u2") + (np.frombuffer(ds.PixelData, "<u2") > 300) * level
        ds.PixelData = pixels.astype("<u2").tobytes()
        files.append(as_part10(ds))
    return files


def test_a_committed_order_gets_a_verified_report(service: Service, cloud_settings: CloudSettings) -> None:
    report = report_of(cloud_settings, send(cloud_settings, series()))
    assert "not a diagnosis" in report["notice"]
    (figures,) = report["series"]
    assert figures["images"] == 6
    assert 590 < figures["mean"] < 640
    assert figures["percentiles"]["p5"] <= figures["percentiles"]["p50"] <= figures["percentiles"]["p95"]


def test_the_figures_change_with_the_pixels(service: Service, cloud_settings: CloudSettings) -> None:
    plain = report_of(cloud_settings, send(cloud_settings, series()))["series"][0]
    brighter = report_of(cloud_settings, send(cloud_settings, series(level=200)))["series"][0]
    assert brighter["mean"] - plain["mean"] == pytest.approx(200, abs=2)


def test_diffusion_weightings_are_told_apart(service: Service, cloud_settings: CloudSettings) -> None:
    files = []
    for ds in make_series(4):
        weighted = ds.InstanceNumber > 2
        ds.DiffusionBValue = 1000.0 if weighted else 0.0
        files.append(as_part10(ds))
    figures = report_of(cloud_settings, send(cloud_settings, files))["series"][0]
    assert set(figures["mean_by_b_value"]) == {"0", "1000"}


def test_an_object_that_was_changed_fails_the_order(service: Service, cloud_settings: CloudSettings) -> None:
    cloud, order = S3Cloud(cloud_settings), make_order(2)
    files = series(count=2)
    entries = []
    for planned, data in zip(order.objects, files, strict=True):
        key = instance_key(order.order, planned.number)
        ready = prepared(data)
        cloud.put_object(key, data, ready.sha256)
        entries.append({"number": planned.number, "key": key, "size_bytes": len(data), "sha256": ready.sha256})
    entries[1]["sha256"] = "0" * 64
    manifest = json.dumps({"contract": "imaging-agent/1", "order": order.order, "objects": entries}).encode()
    cloud._call("put_object", Key=manifest_key(order.order), Body=manifest)
    assert await_end(cloud_settings, order.order).phase is OrderPhase.FAILED
    failure = cloud.read_failure(order.order)
    assert failure.category == "checksum_mismatch"
    assert failure.remediation
    with pytest.raises(Permanent):
        cloud.fetch_results(order.order)


def test_bytes_that_are_no_image_fail_the_order_in_words(service: Service, cloud_settings: CloudSettings) -> None:
    order = send(cloud_settings, [b"this is not DICOM" * 50])
    assert await_end(cloud_settings, order).phase is OrderPhase.FAILED
    assert S3Cloud(cloud_settings).read_failure(order).category == "unreadable_object"


def test_a_cancelled_order_gets_no_report(service: Service, cloud_settings: CloudSettings) -> None:
    cloud, order = S3Cloud(cloud_settings), make_order(3)
    cloud.put_cancel(order.order, "cancelled")
    files = series(count=3)
    hooks = Watch().hooks(lambda planned: prepared(files[planned.number - 1]))
    OrderUpload(cloud, cloud_settings, hooks).run(order, Ledger(), Halt())
    report_of(cloud_settings, send(cloud_settings, series()))  # a later order is done by now
    assert cloud.list_objects(results_prefix(order.order)) == {}


def test_the_service_ends_on_sigterm_and_takes_up_where_it_was(service: Service, cloud_settings: CloudSettings) -> None:
    assert service.stop() == 0
    order = send(cloud_settings, series())
    service.start()
    assert report_of(cloud_settings, order)["order"] == order


def test_the_service_ends_with_its_parent(service: Service, s3_server: S3Server) -> None:
    starter = "import subprocess,sys,time\np=subprocess.Popen(sys.argv[1:])\nprint(p.pid,flush=True)\ntime.sleep(600)"
    parent = subprocess.Popen(
        [sys.executable, "-c", starter, *service.command], env=service.environment, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert b"watching" in parent.stdout.readline()
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert parent.stdout.read() == b""  # the pipe closes when the child has gone too
    parent.stdout.close()
    with pytest.raises(ProcessLookupError):
        for _ in range(1000):
            os.kill(child, 0)
            time.sleep(0.01)
