"""A marked patient goes through everything; the marks are nowhere but inside the encrypted store."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from agent.demo.s3_server import S3Server
from tests.dicom_files import make_series, write_series
from tests.path.agent_process import AgentProcess
from tests.path.cloud_path import AnalysisService, as_wire, bucket_objects, cloud_environment
from tests.path.notification_receiver import MailServer, Webhook
from tests.raw_sender import send_all

MakeAgent = Callable[..., AgentProcess]
MARKS = (
    "QZMARKNAME", "QZFIRSTNAME", "QZPATID77", "QZACCESSION", "QZOTHERID", "QZREFERRER", "QZINSTITUTE", "QZSTREET", "QZOPERATOR",
    "QZSTUDYTEXT", "QZSERIESTEXT", "QZPROTOCOL", "QZPRIVATE", "QZCREATOR", "QZNESTED", "QZCOMMENT", "QZSTATION", "QZSERIAL",
    "19470318", "3.99.424242.", "QZFILENAME",
)  # fmt: skip


def marked_series(count: int = 6) -> list[Dataset]:
    series = make_series(
        count,
        study_uid="1.2.826.0.1.3680043.2.1143.3.99.424242.1",
        series_uid="1.2.826.0.1.3680043.2.1143.3.99.424242.2",
        patient_id="QZPATID77",
        patient_name="QZMARKNAME^QZFIRSTNAME",
        shape=(64, 64),
        PatientBirthDate="19470318",
        AccessionNumber="QZACCESSION",
        OtherPatientIDs="QZOTHERID",
        ReferringPhysicianName="QZREFERRER^A",
        OperatorsName="QZOPERATOR^B",
        InstitutionName="QZINSTITUTE",
        InstitutionAddress="QZSTREET 12",
        StudyDescription="Brain QZMARKNAME QZSTUDYTEXT",
        SeriesDescription="Axial QZSERIESTEXT",
        ProtocolName="QZPROTOCOL",
        ImageComments="QZCOMMENT",
        StationName="QZSTATION",
        DeviceSerialNumber="QZSERIAL",
    )
    for number, ds in enumerate(series):
        ds.SOPInstanceUID = f"1.2.826.0.1.3680043.2.1143.3.99.424242.3.{number}"
        block = ds.private_block(0x0019, "QZCREATOR", create=True)
        block.add_new(0x01, "LO", "QZPRIVATE")
        nested = Dataset()
        nested.PatientName, nested.PatientID = "QZNESTED^QZMARKNAME", "QZPATID77"
        ds.RequestAttributesSequence = Sequence([nested])
    return series


def encodings(mark: str) -> set[bytes]:
    forms = {mark, mark.lower(), mark[::-1]}
    return {f.encode(c) for f in forms for c in ("utf-8", "utf-16-le", "utf-16-be")}


def search(where: str, data: bytes, found: list[str]) -> None:
    found += [f"{mark} in {where}" for mark in MARKS if any(form in data for form in encodings(mark))]


def search_folder(folder: Path, found: list[str], skip: frozenset[str] = frozenset()) -> None:
    for path in folder.rglob("*"):
        search(f"name {path.name}", str(path.relative_to(folder)).encode(), found)
        if path.is_file() and path.name not in skip:
            search(str(path), path.read_bytes(), found)


@pytest.mark.timeout(300)
def test_a_marked_patient_leaves_no_trace(make_agent: MakeAgent, s3_server: S3Server, tmp_path: Path) -> None:
    with Webhook() as hook, MailServer() as mail:
        channels = [{"url": url, "on": ["qc_passed", "failed", "delivered", "alarm"]} for url in (hook.url, mail.url)]
        agent = make_agent(**cloud_environment(s3_server), notify=channels, log__level="debug")
        with agent, AnalysisService(s3_server, tmp_path / "analysis.log"):
            assert set(send_all(agent.dicom, [as_wire(ds) for ds in marked_series()])) == {0}
            study = agent.let_pass()
            agent.wait_for_status("delivered", timeout_s=120)
            # what people and scripts see
            found: list[str] = []
            viewer = agent.make_token("viewer")
            for call in (
                "studies",
                f"studies/{study['id']}",
                f"studies/{study['id']}/qc",
                "metrics/summary?window=24h",
            ):
                search(f"API {call}", json.dumps(agent.api(call, token=viewer)).encode(), found)
            with urllib.request.urlopen(f"{agent.web}/metrics") as answer:
                search("metrics", answer.read(), found)
            # while it runs, everything on disk
            search_folder(agent.data, found)
            search("log", agent.log.read_bytes(), found)
        # after it stopped, too
        search_folder(agent.data, found)
        for key, (body, metadata) in bucket_objects(s3_server).items():
            search(f"bucket key {key}", key.encode(), found)
            search(f"bucket object {key}", body, found)
            search(f"bucket metadata of {key}", json.dumps(metadata).encode(), found)
        search("analysis log", (tmp_path / "analysis.log").read_bytes(), found)
        assert hook.bodies, "the webhook was told"
        assert mail.mails, "the mail server was told"
        for body in [*hook.bodies, *mail.mails]:
            search("notification", body, found)
        assert not found, sorted(set(found))


def test_the_command_line_tells_nothing_of_the_patient(make_agent: MakeAgent, tmp_path: Path) -> None:
    write_series(tmp_path / "QZFILENAME", marked_series())
    agent = make_agent()
    found: list[str] = []
    for arguments in (["qc", "--json"], ["deid"]):
        target = [str(tmp_path / "out")] if arguments[0] == "deid" else []
        done = agent.cli(arguments[0], str(tmp_path / "QZFILENAME"), *target, *arguments[1:], check=False)
        search(f"agent {arguments[0]}", (done.stdout + done.stderr).encode(), found)
    assert list((tmp_path / "out").rglob("*.dcm"))
    search_folder(tmp_path / "out", found)
    assert not found, sorted(set(found))


def test_the_search_finds_a_mark_when_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(100) + "QZNESTED".encode("utf-16-le"))
    found: list[str] = []
    search_folder(tmp_path, found)
    assert found
