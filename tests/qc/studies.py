"""Makers of measured studies: synthetic ones, phantoms and degraded real series."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pydicom.dataset import Dataset

from agent.qc.findings import Check, QcReport
from agent.qc.folder import check_folder
from agent.qc.judge_worker import JudgedStudy, judge
from agent.qc.measure import measure_dataset
from agent.qc.measurement import ImageMeasurement
from tests.dicom_files import as_part10, make_series

T1 = {
    "ScanningSequence": "GR", "SequenceVariant": "SP", "MRAcquisitionType": "3D", "RepetitionTime": 9.0,
    "EchoTime": 2.9, "FlipAngle": 9, "MagneticFieldStrength": 3.0, "InPlanePhaseEncodingDirection": "COL",
    "BodyPartExamined": "BRAIN", "SeriesDescription": "x",
}  # fmt: skip


def t1_series(count: int = 12, **changes: object) -> list[Dataset]:
    options = {**T1, "shape": (64, 64), **changes}
    kept = {name: value for name, value in options.items() if value is not None}
    return make_series(count, **kept)  # type: ignore[arg-type]


def measured(datasets: Sequence[Dataset]) -> list[ImageMeasurement]:
    found = []
    for number, ds in enumerate(datasets):
        as_part10(ds)
        found.append(measure_dataset(ds, number))
    return found


def judged(
    datasets: Sequence[Dataset], profile: str | None = None, *, pictures: bool = False, **more: object
) -> JudgedStudy:
    return judge(measured(datasets), lambda n: as_part10(datasets[n]), profile=profile, with_pictures=pictures, **more)  # type: ignore[arg-type]


def check(report: QcReport, check_id: str) -> Check:
    found = [c for c in report.checks if c.id == check_id]
    assert found, f"no check {check_id} among {[c.id for c in report.checks]}"
    return found[0]


def failing(report: QcReport) -> set[str]:
    return {c.id for c in report.checks if c.result == "fail"}


def run_tool(shared_folder: Path, name: str, *arguments: object) -> None:
    command = [sys.executable, "-W", "ignore", str(shared_folder / "tools" / name), *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, timeout=100)


def degraded(shared_folder: Path, out: Path, mode: str, source: Path, *options: object) -> QcReport:
    run_tool(shared_folder, "degrade.py", mode, source, out, *options)
    return check_folder(out, with_pictures=False).report
