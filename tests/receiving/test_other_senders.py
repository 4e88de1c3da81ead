"""Senders of other makers: DCMTK, Orthanc, pynetdicom; what they send is kept as they sent it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pynetdicom import AE, build_context

from agent.clock import pause
from agent.store.segments import StoredRecord
from tests.conftest import program
from tests.dicom_files import make_series, write_series
from tests.receiving.books import Stand, receiving

PARTS = (
    "mr_brain_t1",
    "mr_other",
    "ct",
    "enhanced_multiframe",
    "non_image/dcmqi_sr_seg",
    "non_image/encapsulated_pdf_synthetic",
)


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    with receiving(tmp_path / "stand") as running:
        yield running


def _dataset(stand: Stand, record: StoredRecord) -> Dataset:
    path = stand.segments.parent / "back.dcm"
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = record.header.transfer_syntax_uid
    meta.MediaStorageSOPClassUID = record.header.sop_class_uid
    meta.MediaStorageSOPInstanceUID = record.header.sop_uid
    with path.open("wb") as file:
        file.write(bytes(128) + b"DICM")
        pydicom.filewriter.write_file_meta_info(file, meta)
        file.write(stand.stored(record))
    return pydicom.dcmread(path)


def _assert_same(stand: Stand, originals: list[Path], *, sample: int = 12) -> None:
    """Each original is among what was stored, element by element, pixels equal."""
    by_uid: dict[str, list[StoredRecord]] = {}
    for record in stand.books.records:
        by_uid.setdefault(record.header.sop_uid, []).append(record)
    for path in originals[:: max(1, len(originals) // sample)]:
        original = pydicom.dcmread(path)
        candidates = [_dataset(stand, r) for r in by_uid[str(original.SOPInstanceUID)]]
        assert any(_same(original, c) for c in candidates), path.name


def _same(a: Dataset, b: Dataset) -> bool:
    for element in a:
        if element.tag.element == 0 or element.keyword in ("PixelData", "DataSetTrailingPadding"):
            continue
        if element.tag.is_private or element.VR in ("SQ", "UN"):
            continue
        if str(b.get(element.tag, "")) != str(element):
            return False
    if "PixelData" not in a or "FloatPixelData" in a:
        return True
    return bool(np.array_equal(a.pixel_array, b.pixel_array))


@pytest.fixture(scope="session")
def originals(real_data: Path) -> list[Path]:
    files = [p for part in PARTS for p in sorted((real_data / part).rglob("*")) if p.is_file()]
    return [p for p in files if p.read_bytes()[128:132] == b"DICM" and "DIRFILE" not in p.name]


def test_echoscu_is_answered(stand: Stand) -> None:
    assert _run(program("echoscu"), "-aec", "NEUROPACS_AGENT", "127.0.0.1", str(stand.port)).returncode == 0


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_storescu_sends_a_real_study(stand: Stand, originals: list[Path]) -> None:
    files = [p for p in originals if "mr_brain_t1" in str(p)]
    done = _run(program("storescu"), "-aec", "NEUROPACS_AGENT", "127.0.0.1", str(stand.port), *map(str, files))
    assert done.returncode == 0, done.stderr
    stand.books.wait(lambda: len(stand.books.closed) == 1)
    assert len(stand.books.records) == len(files)
    _assert_same(stand, files)


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize("pdu", ["4096", "131072"])
def test_dcmsend_sends_folders_of_every_kind(stand: Stand, originals: list[Path], pdu: str) -> None:
    done = _run(
        program("dcmsend"), "-aec", "NEUROPACS_AGENT", "--max-send-pdu", pdu, "-nuc", "-dn",
        "127.0.0.1", str(stand.port), *map(str, originals),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    stand.books.wait(lambda: len(stand.books.closed) >= 1 and len(stand.books.closed) == len(stand.books.opened))
    assert len(stand.books.records) == len(originals)
    _assert_same(stand, originals)


def test_pynetdicom_sends(stand: Stand) -> None:
    datasets = make_series(3)
    write_series(stand.segments.parent / "in", datasets)
    ae = AE("PYNETDICOM")
    ae.requested_contexts = [build_context(datasets[0].SOPClassUID)]
    association = ae.associate("127.0.0.1", stand.port, ae_title="NEUROPACS_AGENT")
    assert association.is_established
    assert [association.send_c_store(ds).Status for ds in datasets] == [0, 0, 0]
    association.release()
    stand.books.wait(lambda: len(stand.books.closed) == 1)
    assert stand.books.closed[0].outcome == "released"


class Orthanc:
    """An Orthanc that knows us as a modality."""

    def __init__(self, folder: Path, port: int, http: int, dicom: int) -> None:
        folder.mkdir()
        self._url = f"http://127.0.0.1:{http}"
        configuration = {
            "Name": "TEST", "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"),
            "HttpPort": http, "DicomPort": dicom, "DicomAet": "ORTHANC", "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False, "Plugins": [],
            "DicomModalities": {"agent": ["NEUROPACS_AGENT", "127.0.0.1", port]}, "DicomScuTimeout": 60,
        }  # fmt: skip
        (folder / "orthanc.json").write_text(json.dumps(configuration))
        self._log = (folder / "log").open("wb")
        environment = {**os.environ, "TCP_NODELAY": "1"}
        self.process = subprocess.Popen(
            [program("Orthanc"), str(folder / "orthanc.json")], stdout=self._log, stderr=self._log, env=environment
        )
        for _ in range(200):
            try:
                self.call("/system")
                return
            except OSError:
                pause(0.1)
        pytest.fail((folder / "log").read_text()[-2000:])

    def call(self, path: str, body: bytes | None = None) -> dict:
        with urllib.request.urlopen(urllib.request.Request(self._url + path, data=body), timeout=60) as answer:
            return json.loads(answer.read() or b"{}")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        self._log.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_orthanc_sends_and_echoes(stand: Stand, tmp_path: Path, originals: list[Path]) -> None:
    orthanc = Orthanc(tmp_path / "orthanc", stand.port, _free_port(), _free_port())
    try:
        files = [p for p in originals if "mr_brain_t1" in str(p) or "siemens_xa30" in str(p)]
        identities = [orthanc.call("/instances", p.read_bytes())["ID"] for p in files]
        orthanc.call("/modalities/agent/echo", b"{}")
        outcome = orthanc.call(
            "/modalities/agent/store", json.dumps({"Resources": identities, "Synchronous": True}).encode()
        )
        assert outcome["FailedInstancesCount"] == 0
    finally:
        orthanc.stop()
    stand.books.wait(lambda: len(stand.books.records) == len(files))
    _assert_same(stand, files)
