"""The raw sender: what is sent, split, skipped and told."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from agent.dicom.raw_association import AssociationFailed, Part10File
from agent.dicom.scu import SendRequest, SentFile, find_files, send, split_by_contexts, status_in_words
from tests.dicom_files import as_part10, make_image, make_series, write_series
from tests.receiving.books import receiving


def _to(port: int, **options: object) -> SendRequest:
    return SendRequest("127.0.0.1", port, "NEUROPACS_AGENT", **options)  # type: ignore[arg-type]


def test_more_kinds_than_one_association_may_propose_are_split() -> None:
    files = [Part10File(Path(f"{n}"), f"1.2.{n % 300}", f"1.{n}", "1.2.840.10008.1.2.1", 0, 1) for n in range(600)]
    runs = list(split_by_contexts(files))
    assert [f for run in runs for f in run] == files
    assert all(len({(f.sop_class_uid, f.transfer_syntax_uid) for f in run}) <= 128 for run in runs)


def test_two_hundred_private_classes_go_over_two_associations(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for n in range(200):
        ds = make_image(number=n + 1, study_uid="1.2.3", shape=(4, 4))
        ds.SOPClassUID = f"1.3.9999.{n}"
        (folder / f"{n:03d}.dcm").write_bytes(as_part10(ds))
    with receiving(tmp_path) as stand:
        summary = send([folder], _to(stand.port))
        assert summary.counts() == {"stored": 200}
        stand.books.wait(lambda: len(stand.books.closed) == 2)
        assert len({r.header.sop_class_uid for r in stand.books.records}) == 200


def test_what_cannot_be_sent_is_skipped_with_its_reason(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write_series(folder, make_series(2))
    (folder / "notes.txt").write_text("hello")
    (folder / "empty").write_bytes(b"")
    (folder / "cut.dcm").write_bytes(bytes(128) + b"DICM" + b"\x02\x00\x10\x00UI\xff\xff")
    directory = make_image()
    directory.SOPClassUID = "1.2.840.10008.1.3.10"
    (folder / "DICOMDIR").write_bytes(as_part10(directory))
    told: list[SentFile] = []
    planned: list[int] = []
    with receiving(tmp_path) as stand:
        summary = send([folder], _to(stand.port, associations=3), lambda sent, _size: told.append(sent), planned.append)
    assert summary.counts() == {"stored": 2, "skipped": 4}
    assert planned == [6]
    assert len(told) == 6
    assert summary.statuses() == {"0000": 2}
    assert summary.ok
    assert {f.reason for f in summary.files if f.path.name == "DICOMDIR"} == {
        "not an object of a storage class (DICOMDIR or the like)"
    }


def test_no_association_at_all_is_an_error(tmp_path: Path) -> None:
    write_series(tmp_path, make_series(1))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(AssociationFailed, match="Nothing listens"):
        send([tmp_path], _to(port))


def test_refused_objects_do_not_stop_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write_series(folder, make_series(3))
    bad = make_image()
    raw = as_part10(bad).replace(b"\x20\x00\x0d\x00UI", b"\x20\x00\x0d\x00UI", 1)
    marker = bytes.fromhex("08001800") + b"UI"
    at = raw.rindex(marker)
    (folder / "00001b.dcm").write_bytes(raw[: at + 8] + b"x" + raw[at + 9 :])
    with receiving(tmp_path) as stand:
        summary = send([folder], _to(stand.port))
    assert summary.counts() == {"stored": 3, "refused": 1}
    assert not summary.ok
    [refused] = [f for f in summary.files if f.outcome == "refused"]
    assert refused.status == 0xC000
    assert refused.reason == "cannot understand - invalid uid"


def test_folders_are_walked_in_a_fixed_order(tmp_path: Path) -> None:
    for name in ("b/2", "a/1", "b/1"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "a/1")
    assert [str(p.relative_to(tmp_path)) for p in find_files([tmp_path])] == ["a/1", "b/1", "b/2"]


@pytest.mark.parametrize(
    ("status", "words"),
    [(0, "Success"), (0xA700, "out of resources"), (0xA7FF, "out of resources"), (0xA900, "data set does not match SOP Class"),
     (0xC123, "cannot understand"), (0x0124, "not authorised"), (0x9999, "unknown status")],
)  # fmt: skip
def test_statuses_in_words(status: int, words: str) -> None:
    assert status_in_words(status) == words
