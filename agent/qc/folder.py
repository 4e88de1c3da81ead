"""Quality control of a folder of files, without the agent.

Job: measure every DICOM file below a path and judge them as one study. Place: called by ``agent qc``. It must never
stop at a file that is no DICOM or is damaged: what looks like DICOM and cannot be read is a finding, the rest is
skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from agent.errors import QcError
from agent.qc.judge_worker import JudgedStudy, judge
from agent.qc.measure import measure_file
from agent.qc.measurement import ImageMeasurement

IGNORED = {"DICOMDIR", "DIRFILE"}
SUFFIXES = {".dcm", ".dicom", ".ima", ".dic"}
PARALLEL_FROM = 200


def check_folder(
    path: Path,
    profile: str | None = None,
    *,
    profiles: Path | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
    with_pictures: bool = True,
) -> JudgedStudy:
    """Measure and judge the files of a folder.

    Parameters
    ----------
    path : Path
        A folder, or one file.
    profile : str, optional
        Name or path of a profile; chosen by what the files hold when omitted.
    profiles, workers : optional
        Folder of site profiles; processes that measure.
    progress : callable, optional
        Told how many files are done, of how many.

    Raises
    ------
    QcError
        When there is no DICOM file.
    ConfigError
        When the profile cannot be used.
    """
    files = find_files(path)
    if not files:
        raise QcError("There is no DICOM file in that place.", code="qc_no_files", hint="Check the path.")
    return judge(
        _measure_all(files, workers, progress),
        lambda number: files[number].read_bytes(),
        profiles=profiles,
        profile=profile,
        with_pictures=with_pictures,
    )


def _measure_all(
    files: Sequence[Path], workers: int, progress: Callable[[int, int], None] | None
) -> list[ImageMeasurement]:
    measurements: list[ImageMeasurement] = []
    for measurement in _measure(files, workers):
        measurements.append(measurement)
        if progress is not None:
            progress(len(measurements), len(files))
    return measurements


def _measure(files: Sequence[Path], workers: int) -> Iterator[ImageMeasurement]:
    if workers < 2 or len(files) < PARALLEL_FROM:
        yield from (measure_file(path, number) for number, path in enumerate(files))
        return
    with ProcessPoolExecutor(workers, get_context("forkserver")) as executor:
        yield from executor.map(measure_file, files, range(len(files)), chunksize=16)


def find_files(path: Path) -> list[Path]:
    """Return what looks like DICOM: by its magic word, or by its suffix when that is damaged."""
    candidates = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    return [p for p in candidates if p.name not in IGNORED and _looks_like_dicom(p)]


def _looks_like_dicom(path: Path) -> bool:
    with path.open("rb") as stream:
        head = stream.read(132)
    if head[128:132] == b"DICM":
        return True
    return path.suffix.lower() in SUFFIXES
