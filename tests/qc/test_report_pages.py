"""The report for people: self-contained, escaped, without identifiers; the PDF holds the same."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from agent.qc.judge_worker import JudgedStudy
from agent.qc.rendering.pdf import latin
from agent.qc.report import ReportHeading, render_html, render_pdf
from tests.qc.studies import judged, t1_series

MARKED = {
    "patient_id": "MARKED-4711", "patient_name": "Markedname^Adelheid", "SeriesDescription": "Markedseries",
    "StudyDescription": "Markedstudy", "ProtocolName": "Markedprotocol", "StationName": "MARKEDSTATION",
}  # fmt: skip
HEADING = ReportHeading(
    "Quality report", (("Study", "abc123"), ("Note", '<script>alert("x")</script>')), "footer & more"
)
from tests.conftest import require


@pytest.fixture(scope="module")
def study() -> JudgedStudy:
    series = t1_series(8, SliceThickness=9.5, **MARKED)
    del series[4]
    return judged(series, pictures=True)


def test_the_page_is_self_contained_and_runs_nothing(study: JudgedStudy) -> None:
    page = render_html(study.report.to_record(), study.pictures, HEADING)
    assert "<script" not in page
    assert not re.search(r"\son\w+=|\sstyle=|javascript:|https?://", page)
    assert not re.search(r'(src|href)="(?!data:image/png;base64,)', page)
    assert page.count("<style>") == 1
    assert "&lt;script&gt;" in page
    assert "footer &amp; more" in page


def test_the_page_says_verdict_reasons_and_advice(study: JudgedStudy) -> None:
    page = render_html(study.report.to_record(), study.pictures, HEADING)
    for words in (
        "Failed",
        "What weighs most",
        "What to do",
        "Parameter tests",
        "Image analysis",
        "Metadata",
        "9.5 mm",
    ):
        assert words in page
    assert page.count("<svg") >= 5
    assert page.count("<img") == 1


def test_every_text_of_the_body_is_escaped(study: JudgedStudy) -> None:
    body = study.report.to_record()
    evil = "<b>\"'&"
    for one in body["checks"]:  # type: ignore[attr-defined]
        one.update(title=evil, detail=evil, measured_text=evil, limit=evil, series=evil)
    body |= {"because": evil, "reasons": [evil], "recommendations": [evil], "metadata": [[evil, evil]]}
    assert "<b>" not in render_html(body, study.pictures, ReportHeading(evil, ((evil, evil),), evil))


def test_nothing_identifies_the_patient(study: JudgedStudy) -> None:
    body = study.report.to_record()
    pages = str(body) + render_html(body, study.pictures, ReportHeading())
    for word in ("MARKED", "Marked", "19600102", "ACC0001", "Ref^Doctor", "20260102"):
        assert word not in pages


def test_the_pdf_is_a_pdf_with_the_same_words(study: JudgedStudy, tmp_path: Path) -> None:
    heading = ReportHeading("Qualität – 品質 Ωμ Łódź", (("Ort", "Žilina “Süd”"),), "ж")
    data = render_pdf(study.report.to_record(), study.pictures, heading)
    assert data.startswith(b"%PDF-")
    reader = shutil.which("pdftotext")
    require(reader is not None, "pdftotext is not installed")
    path = tmp_path / "report.pdf"
    path.write_bytes(data)
    text = subprocess.run([reader, "-layout", str(path), "-"], check=True, capture_output=True).stdout.decode()
    for words in ("Failed", "What weighs most", "What to do", "Slice Thickness", "9.5 mm", "Metadata"):
        assert words in text


def test_letters_without_a_latin_form_do_not_break_the_pdf() -> None:
    assert latin("Žilina ≤ 5 − 3 品") == "Zilina <= 5 - 3 ?"


def test_pictures_are_png_and_show_the_stack(study: JudgedStudy) -> None:
    picture = study.pictures[0]
    assert picture.png.startswith(b"\x89PNG")
    assert picture.caption == "Series 1 (T1): 6 slices through the stack."
