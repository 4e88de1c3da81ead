"""A seeded installation for tests of the dashboard: real keys, a real database, studies in every status.

Rows are written by the store's own operations, in the test's process, as the engine would.
"""

from __future__ import annotations

import io
import json
import re
import time
from pathlib import Path
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from PIL import Image

from agent.completeness.evidence import Finding
from agent.config import Settings
from agent.qc.checks.bands import Band
from agent.qc.findings import Check, QcReport, SeriesSummary
from agent.qc.report import Picture
from agent.store import alarms, associations, reports, users
from agent.store.database import open_database, transact
from agent.store.jobs import NewJob
from agent.store.jobs.mapping import DeidActionRow, store_deid_actions
from agent.store.keys import Keyring
from agent.store.segments import RecordHeader, StoredRecord
from agent.store.studies import IndexFacts, IndexRow, Transition, index_records, record_transition, update_progress
from agent.study import FailedStep, Role, StudyStatus, Trigger
from agent.web import passwords
from agent.web.app import create_app
from agent.web.pages.study import identifiers_context

SYNTAX = "1.2.840.10008.1.2.1"
MR = "1.2.840.10008.5.1.4.1.1.4"
PASSWORD = "a rather long pass phrase"
NAMES = {Role.VIEWER: "vera", Role.TECHNOLOGIST: "tom", Role.REVIEWER: "rita", Role.ADMIN: "ada"}
SECRET_NAME = "PLANTED^PATIENT"

_PATH: dict[StudyStatus, list[Trigger]] = {
    StudyStatus.RECEIVING: [],
    StudyStatus.UNSTABLE: [Trigger.ASSOCIATION_CLOSED],
    StudyStatus.STABLE: [Trigger.ASSOCIATION_CLOSED, Trigger.FOUND_COMPLETE],
}
_PATH[StudyStatus.QC_PASSED] = [*_PATH[StudyStatus.STABLE], Trigger.QC_PASS]
_PATH[StudyStatus.FAILED] = [*_PATH[StudyStatus.STABLE], Trigger.QC_FAIL]
_PATH[StudyStatus.UPLOADING] = [*_PATH[StudyStatus.QC_PASSED], Trigger.UPLOAD_STARTED]
_PATH[StudyStatus.PENDING] = [*_PATH[StudyStatus.UPLOADING], Trigger.UPLOAD_FINISHED]
_PATH[StudyStatus.PROCESSING] = [*_PATH[StudyStatus.PENDING], Trigger.ORDER_ACCEPTED]
_PATH[StudyStatus.DELIVERED] = [*_PATH[StudyStatus.PROCESSING], Trigger.REPORT_STORED]
_hashes: dict[str, str] = {}


def hash_of(password: str) -> str:
    """One slow hash for all tests of a process."""
    if password not in _hashes:
        _hashes[password] = passwords.hash_password(password)
    return _hashes[password]


def settings_in(folder: Path, **web: object) -> Settings:
    return Settings(
        data_dir=folder / "data", keys={"file": folder / "agent.key"}, web={"port": 0, "time_zone": "UTC", **web}
    )


class Hospital:
    """Keys, database, app, and the few steps tests repeat."""

    def __init__(self, folder: Path, **web: object) -> None:
        self.settings = settings_in(folder, **web)
        self.keyring = Keyring.open(self.settings, create=True)
        self.database = open_database(self.settings.data_dir, self.keyring, create=True)
        self._offset = 0
        self._number = 0

    def close(self) -> None:
        self.database.close()

    def app(self, **kwargs: Any) -> Flask:
        app = create_app(self.settings, self.keyring, **kwargs)
        app.testing = False
        return app

    def add_users(self, *roles: Role) -> None:
        for role in roles or tuple(Role):
            users.create_user(NAMES[role], role, hash_of(PASSWORD), at=time.time())

    def arrive(
        self, uid: str, *, images: int = 4, series: int = 1, at: float | None = None, patient: str = "ANON-7H2K",
        description: str = "Brain", identifies: bool = False, modality: str = "MR", first: int = 1, source: str = "PACS1",
    ) -> str:  # fmt: skip
        at = time.time() if at is None else at
        study_id = self.keyring.study_id(uid)
        sealed = json.dumps({"patient_id": "MRN-4711", "patient_name": SECRET_NAME, "birth_date": "19600102"}).encode()
        rows = []
        for number in range(first, first + images):
            series_uid = f"{uid}.{1 + (number - 1) % series}"
            header = RecordHeader(
                uid, series_uid, f"{series_uid}.{number}", MR, SYNTAX, source, "AGENT", "assoc-1", at, "{}"
            )  # fmt: skip
            record = StoredRecord("r0-1.seg", self._offset, 1000, 524_288, f"{self._offset:064x}", "k", header)
            self._offset += 1000
            facts = IndexFacts(
                "20260102", "101500", description, modality, str(1 + (number - 1) % series), "ax diffusion"
            )
            rows.append(
                IndexRow(
                    record, study_id, patient, self.keyring.seal(sealed, identifiers_context(study_id)), identifies, facts
                )
            )  # fmt: skip
        transact(lambda: index_records(rows))
        return study_id

    def step(self, study_id: str, status: StudyStatus, trigger: Trigger, revision: int = 1, **kwargs: Any) -> None:
        at = kwargs.pop("at", time.time())
        by = kwargs.pop("by", "agent")
        transact(lambda: record_transition(Transition(study_id, trigger, by, status, revision, **kwargs), at))

    def progress(self, study_id: str, revision: int = 1, **columns: object) -> None:
        transact(lambda: update_progress(study_id, revision, **columns))

    def study(self, status: StudyStatus, *, uid: str = "", at: float | None = None, **kwargs: Any) -> str:
        """One study, moved step by step to `status`."""
        self._number += 1
        uid = uid or f"1.2.826.0.1.3680043.8.498.{self._number}.7"
        at = time.time() - 600 if at is None else at
        expected = kwargs.pop("expected", None)
        study_id = self.arrive(uid, at=at, **kwargs)
        self.progress(study_id, completeness_json=findings(status), instances_expected=expected)
        here = StudyStatus.RECEIVING
        for trigger in _PATH[status]:
            at += 15
            self.step(study_id, here, trigger, at=at, **_with(trigger))
            from agent.study import next_status

            here = next_status(here, trigger)
            if trigger in (Trigger.QC_PASS, Trigger.QC_FAIL):
                self.judge(study_id, trigger, at)
            if trigger is Trigger.UPLOAD_STARTED:
                self.progress(
                    study_id, upload_total_objects=4, upload_done_objects=2, upload_done_bytes=1_048_576,
                    upload_total_bytes=2_097_152, order_id="ord-" + study_id[:6],
                )  # fmt: skip
                transact(lambda: store_deid_actions(study_id, 1, ACTIONS))
            if trigger is Trigger.REPORT_STORED:
                for name, media_type, body in (
                    ("report.pdf", "application/pdf", a_pdf()),
                    ("result.json", "application/json", b'{"score": 0.31}'),
                ):
                    new = reports.NewReport("ord-" + study_id[:6], name, media_type, body)
                    transact(lambda new=new: reports.store_report(study_id, 1, new, at))
        return study_id

    def judge(self, study_id: str, trigger: Trigger, at: float) -> None:
        body = qc_report("pass" if trigger is Trigger.QC_PASS else "fail").to_record()
        record = reports.QcReportRecord(
            0, study_id, 1, str(body["verdict"]), body["score"], "mr-brain", json.dumps(body), at  # type: ignore[arg-type]
        )  # fmt: skip
        transact(lambda: reports.store_qc_report(record, pictures()))

    def furnish(self) -> dict[StudyStatus, str]:
        """Studies in every status, flags, alarms and associations."""
        now = time.time()
        made = {}
        for index, status in enumerate(StudyStatus):
            made[status] = self.study(
                status, patient=f"ANON-{'7H2KQXMPR'[index]}{'4TNB6WZC3'[index]}{index}A", images=60 + index,
                series=3, expected=64 + index if index < 2 else 60 + index, at=now - 300 - 700 * index,
                description=("Brain DTI", "Brain", "Thorax", "Abdomen", "Brain DTI", "Knee", "Spine", "Brain", "Brain DTI")[index],
                modality="CT" if index in (2, 5) else "MR", source=("PACS1", "CT_SCAN_2", "MR_SKYRA")[index % 3],
            )  # fmt: skip
        review = self.study(StudyStatus.STABLE, patient="ANON-REV1EW", at=now - 3000)
        self.step(
            review, StudyStatus.STABLE, Trigger.QC_REVIEW, flags={"needs_review": True},
            changes={"qc_verdict": "review", "qc_score": 71.0},
        )  # fmt: skip
        self.judge(review, Trigger.QC_FAIL, now - 2900)
        self.study(
            StudyStatus.UNSTABLE, patient="ANON-H1DDEN", description="Smith John knee", identifies=True, at=now - 200
        )
        transact(lambda: _connect(now))
        alarms.raise_alarm(
            "accept_any",
            "warning",
            "Any DICOM node may send to this agent.",
            'List the peers and set dicom.accept = "listed".',
        )
        return made

    def ready(self, **changes: object) -> None:
        """What the engine writes once a second."""
        run = self.settings.data_dir / "run"
        run.mkdir(parents=True, exist_ok=True)
        body = {
            "ready": True,
            "at": time.time(),
            "dicom_port": 11112,
            "receivers": 1,
            "workers": 2,
            "processes": {},
            **changes,
        }
        (run / "ready.json").write_text(json.dumps(body))


def _with(trigger: Trigger) -> dict[str, Any]:
    match trigger:
        case Trigger.QC_PASS:
            return {"changes": {"qc_verdict": "pass", "qc_score": 94.0, "qc_done": 60, "qc_total": 60}}
        case Trigger.QC_FAIL:
            return {
                "changes": {
                    "qc_verdict": "fail", "qc_score": 48.0, "qc_done": 60, "qc_total": 60, "failed_step": FailedStep.QC,
                    "failure_code": "qc_fail", "failure_text": "Slices 21 to 24 of series 5 lost their signal.",
                }
            }  # fmt: skip
        case Trigger.UPLOAD_STARTED:
            return {"job": NewJob("upload")}
        case _:
            return {}


def _connect(now: float) -> None:
    peer = associations.Peer("PACS1", "NEUROPACS_AGENT", "10.4.1.20")
    contexts = json.dumps(
        [
            {"context_id": 1, "abstract_syntax": MR, "transfer_syntax": SYNTAX, "result": 0},
            {
                "context_id": 3,
                "abstract_syntax": "1.2.840.10008.5.1.4.1.1.88.11",
                "transfer_syntax": SYNTAX,
                "result": 4,
            },
        ]
    )
    associations.opened("open-1", peer, now - 40, contexts)
    associations.traffic("open-1", associations.Traffic(142, 0, 74_448_896), now - 1)
    associations.opened("done-1", peer, now - 900, contexts)
    associations.closed("done-1", "released", associations.Traffic(60, 2, 31_457_280), now - 840)
    associations.refused(
        "refused-1",
        associations.Peer("PACS2", "AGENT", "10.4.1.77"),
        "PACS2 called us AGENT; we are NEUROPACS_AGENT.",
        now - 500,
    )


def findings(status: StudyStatus) -> str:
    arriving = status in (StudyStatus.RECEIVING, StudyStatus.UNSTABLE)
    said = [
        Finding("open_association", "gate", None, "met", "No association that brought images of this study is open."),
        Finding("header_counts", "series", "1.2", "met", "60 of 60 images of series 1 came: 60 slices, one volume."),
    ]
    if arriving:
        said.append(Finding("slice_grid", "series", "1.3", "not_met", "12 of 64 slices of series 5 are missing."))
        said.append(Finding("diffusion", "doubt", "1.4", "unknown", "Series 6 does not tell its diffusion directions."))
    from agent.actors.study.evidence import findings_json

    return findings_json(said)


ACTIONS = (
    DeidActionRow("(0010,0010)", "PatientName", "Z", 60),
    DeidActionRow("(0010,0020)", "PatientID", "D", 60),
    DeidActionRow("(0020,000D)", "StudyInstanceUID", "U", 60),
    DeidActionRow("(0029,1010)", "", "X", 60),
)


def qc_report(verdict: str) -> QcReport:
    """A report as quality control writes it."""
    bad = verdict == "fail"
    checks = (
        Check("dwi.dropout", "motion", "Slice dropout", "fail" if bad else "pass", 6.7 if bad else 0.2, "at most 2 %", "%",
              "critical", advice="Repeat the diffusion series; the patient moved or the gradients failed.",
              detail="slices 21, 22, 23, 24", band=Band(high=2.0, fail_high=5.0), series="series 5, diffusion"),
        Check("dwi.snr", "contrast", "SNR of the b0 images", "warn" if bad else "pass", 18.4, "at least 20", "",
              advice="Check the head coil and its connectors.", band=Band(low=20.0, fail_low=12.0), series="series 5, diffusion"),
        Check("dwi.EchoTime", "protocol", "Echo Time", "pass", 88.0, "60 to 110 ms", "ms", band=Band(60.0, 110.0, 50.0, 120.0)),
        Check("t1.thickness", "geometry", "Slice Thickness", "pass", 1.0, "at most 1.2 mm", "mm", band=Band(high=1.2)),
        Check("meta.sex", "metadata", "Patient's Sex", "undetermined", None, "present", severity="minor"),
    )  # fmt: skip
    series = (
        SeriesSummary("series 5", 5, "diffusion", 0.98, ("b values in headers",), True, "dwi", 60, 60, 60, 1, (), 48.0 if bad else 94.0),
        SeriesSummary("series 2", 2, "t1_3d", 0.9, (), True, "t1", 60, 60, 60, 1, (), 92.0),
    )  # fmt: skip
    return QcReport(
        verdict="fail" if bad else "pass", score=48.0 if bad else 94.0, profile="mr-brain", profile_version="3",
        profile_hash="ab12", profile_title="MR brain", pass_score=70.0, evidence_percent=93.0,
        because="A critical check failed." if bad else "All critical checks passed.",
        reasons=("Slices 21 to 24 of series 5 lost their signal.", "SNR of the b0 images is 18.4, 20 is needed.") if bad else (),
        recommendations=("Repeat the diffusion series; tell the patient to lie still.",) if bad else (),
        series=series, checks=checks, metadata=(("Manufacturer", "SYNTHETIC"), ("Field strength", "3 T")),
    )  # fmt: skip


def pictures() -> list[Picture]:
    found = []
    for name in ("worst", "middle"):
        buffer = io.BytesIO()
        Image.radial_gradient("L").resize((160, 160)).save(buffer, "PNG")
        found.append(Picture(name, f"{name} slice of series 5", buffer.getvalue()))
    return found


def a_pdf() -> bytes:
    from fpdf import FPDF

    pdf = FPDF()
    pdf.add_page()
    pdf.set_font("helvetica", size=20)
    pdf.cell(text="Report of the analysis")
    return bytes(pdf.output())


def token_of(html: str) -> str:
    found = re.search(r'name="csrf-token" content="([^"]+)"', html)
    assert found, "a page without a CSRF token"
    return found[1]


def log_in(client: FlaskClient, role: Role, password: str = PASSWORD) -> FlaskClient:
    page = client.get("/login")
    answer = client.post("/login", data={"name": NAMES[role], "password": password, "csrf_token": token_of(page.text)})
    assert answer.status_code == 302, answer.text
    return client


def post(client: FlaskClient, path: str, page: str = "/account/password", **data: object) -> Any:
    """Send a form with the CSRF token of a page."""
    return client.post(path, data={"csrf_token": token_of(client.get(page).text), **data})
