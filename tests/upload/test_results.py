"""What an analysis writes is input from outside."""

from __future__ import annotations

import hashlib
import json

import pytest

from agent.cloud.contract import OrderPhase, ResultEntry
from agent.cloud.package import Manifest, ManifestObject, instance_key, new_order, order_prefix, sealed_manifest
from agent.cloud.results import check_files, is_result_name, parse_failure, parse_status
from agent.errors import DeidError, Permanent

PDF = b"%PDF-1.7\n...\n%%EOF\n"
ORDER = new_order()


@pytest.mark.parametrize("name", ["report.pdf", "report.json", "report.dcm", "slices.png", "a_1-b.png"])
def test_names_of_the_contract_are_known(name: str) -> None:
    assert is_result_name(name)


@pytest.mark.parametrize(
    "name", ["../report.pdf", "report.exe", "x.svg", "Report.PDF", "a/b.png", ".png", "report.html"]
)
def test_other_names_are_refused(name: str) -> None:
    assert not is_result_name(name)
    with pytest.raises(Permanent) as refused:
        check_files({"report.pdf": PDF, name: b"x"}, ORDER)
    assert refused.value.code == "result_name"


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({}, "result_missing"),
        ({"slices.png": b"x"}, "result_missing"),
        ({"report.pdf": b"<html>"}, "result_form"),
        ({"report.pdf": b"%PDF-1.7 cut off"}, "result_form"),
        ({"report.pdf": b""}, "result_size"),
        ({"report.json": b"{"}, "result_json"),
        ({"report.json": b"[1]"}, "result_json"),
        ({"report.json": b"[" * 100_000}, "result_json"),
        ({"report.json": b" " * 6_000_000}, "result_size"),
        ({"report.json": json.dumps({"order": "another"}).encode()}, "result_order"),
        ({"report.dcm": b"x" * 200}, "result_form"),
        ({"report.pdf": PDF, "slices.png": b"GIF89a"}, "result_form"),
    ],
)
def test_a_result_that_breaks_the_contract_is_refused(files: dict[str, bytes], code: str) -> None:
    with pytest.raises(Permanent) as refused:
        check_files(files, ORDER)
    assert refused.value.code == code


def test_a_file_that_is_not_the_announced_one_is_refused() -> None:
    good = ResultEntry("report.pdf", len(PDF), hashlib.sha256(PDF).hexdigest())
    assert check_files({"report.pdf": PDF}, ORDER, (good,))[0].media_type == "application/pdf"
    for wrong in (ResultEntry("report.pdf", 1, "0" * 64), ResultEntry("slices.png", 1, good.sha256)):
        with pytest.raises(Permanent):
            check_files({"report.pdf": PDF}, ORDER, (good, wrong))


def test_a_status_is_bounded_and_without_markup() -> None:
    status = parse_status(
        json.dumps({"status": "processing", "progress": 40.7, "message": "<b>x</b>\n\u202e" + "y" * 9000}).encode()
    )
    assert (status.phase, status.progress) == (OrderPhase.PROCESSING, 40)
    assert len(status.message) <= 500
    assert not set("<>\n\u202e") & set(status.message)


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b'{"status": "exploded"}', b'{"status": ["done"]}', b"\xff\xfe", b"x" * 70_000]
)
def test_a_status_the_contract_does_not_know_is_refused(body: bytes) -> None:
    with pytest.raises(Permanent):
        parse_status(body)


@pytest.mark.parametrize("progress", [-1, 101, "50", True, None, 1e400])
def test_a_progress_out_of_range_counts_as_none(progress: object) -> None:
    assert parse_status(json.dumps({"status": "processing", "progress": progress}).encode()).progress == 0


@pytest.mark.parametrize("body", [None, b"", b"{", b"[]", b"{}", b'{"class": 5, "description": null}'])
def test_a_failure_without_reason_still_has_words(body: bytes | None) -> None:
    failure = parse_failure(body)
    assert failure.category
    assert failure.description
    assert failure.remediation


def test_a_failure_is_plain_text() -> None:
    failure = parse_failure(
        json.dumps({"class": "Bad-Input!", "description": "<script>" * 900, "remediation": "ask"}).encode()
    )
    assert failure.category == "bad_input"
    assert len(failure.description) <= 1000
    assert "<" not in failure.description


@pytest.mark.parametrize("order", ["", "../x", "1.2.840.113619", "PATIENT-1", "00000000-0000-1000-8000-000000000000"])
def test_only_a_random_uuid_is_an_order(order: str) -> None:
    with pytest.raises(Permanent):
        order_prefix(order)


def make_manifest() -> Manifest:
    entry = ManifestObject(number=1, key=instance_key(ORDER, 1), size_bytes=1, sha256="0" * 64)
    return Manifest(order=ORDER, revision=1, study_uid="2.25.1", profile="mr-brain", objects=(entry,))


def test_the_same_manifest_gives_the_same_bytes() -> None:
    assert make_manifest().to_bytes() == make_manifest().to_bytes()
    assert json.loads(make_manifest().to_bytes())["contract"] == "imaging-agent/1"


def test_the_outbound_check_reads_the_manifest_before_it_leaves() -> None:
    def refuse(text: str) -> None:
        assert ORDER in text
        raise DeidError("An identifier was found.", code="outbound_hit")

    with pytest.raises(DeidError):
        sealed_manifest(make_manifest(), refuse)
