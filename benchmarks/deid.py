"""De-identification: milliseconds a file, beside dicom-anonymizer, on the same files in the same rounds."""

from __future__ import annotations

import contextlib
import io
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from pydicom.dataset import Dataset

from benchmarks.figures import Figure, paired_ratio

SHAPES = {"mr 80x80": ("MR", 80), "ct 512x512": ("CT", 512)}


def _slice(modality: str, size: int, number: int) -> Dataset:
    from tests.dicom_files import make_image

    ds = make_image(
        modality=modality, shape=(size, size), number=number, seed=3, study_uid="1.2.3.4", series_uid="1.2.3.4.1"
    )
    ds.ReferencedImageSequence = [Dataset() for _ in range(3)]
    for n, item in enumerate(ds.ReferencedImageSequence):
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = ds.SOPClassUID, f"1.2.3.4.{number}.{n}"
    block = ds.private_block(0x2001, "Philips Imaging DD 001", create=True)
    for low in range(0x03, 0x40):
        block.add_new(low, "FL", float(low))
    return ds


def _time(work: Callable[[Path], None], files: list[Path]) -> float:
    start = time.perf_counter()
    for file in files:
        work(file)
    return (time.perf_counter() - start) / len(files) * 1000


def run(*, quick: bool, say: Callable[[str], None]) -> list[Figure]:
    """Measure engine alone, engine with the outbound check, and the peer."""
    from tests.dicom_files import as_part10

    rounds, count = (3, 10) if quick else (7, 60)
    figures: list[Figure] = []
    with TemporaryDirectory() as folder:
        for name, (modality, size) in SHAPES.items():
            say(f"{name}: {rounds} rounds of {count} files")
            files = []
            for n in range(count):
                path = Path(folder, f"{modality}{size}-{n}.dcm")
                path.write_bytes(as_part10(_slice(modality, size, n + 1)))
                files.append(path)
            figures += _rounds(name, files, rounds)
    return figures


def _rounds(name: str, files: list[Path], rounds: int) -> list[Figure]:
    works = {"engine": _engine_only, "engine and outbound check": _whole, "dicom-anonymizer": _peer}
    times: dict[str, list[float]] = {key: [] for key in works}
    for work in works.values():
        _time(work, files[:2])
    for _ in range(rounds):
        for key, work in works.items():
            times[key].append(_time(work, files))
    figures = {key: Figure(f"{name}: {key}", "ms/file", tuple(values), "lower") for key, values in times.items()}
    peer = figures["dicom-anonymizer"]
    ratio = paired_ratio(f"{name}: dicom-anonymizer / whole path", peer, figures["engine and outbound check"])
    return [*figures.values(), ratio]


def _engine_only(file: Path) -> None:
    from agent.deid.engine import read_source
    from agent.deid.part10 import decode_container, part10_start, split_part10
    from agent.deid.worker import _engine

    data, syntax = split_part10(file.read_bytes())
    encoded = decode_container(data, syntax)
    clean = _engine("basic", _keys()).clean(read_source(encoded.data, encoded.encoding, encoded.transfer_syntax_uid))
    b"".join((part10_start(clean.sop_class_uid, clean.sop_uid, syntax), *clean.chunks))


def _whole(file: Path) -> None:
    from agent.deid.part10 import split_part10
    from agent.deid.worker import deidentify_bytes

    data, syntax = split_part10(file.read_bytes())
    done = deidentify_bytes(data, syntax, _keys(), "basic")
    assert done.data, done.excluded_because


def _peer(file: Path) -> None:
    """dicom-anonymizer: top level only, random UIDs in memory; it reads and writes files."""
    from dicomanonymizer import anonymize_dicom_file

    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        anonymize_dicom_file(str(file), str(file.with_suffix(".out")))


def _keys():
    from agent.deid.pseudonyms import PseudonymKeys

    return PseudonymKeys(np.arange(32, dtype=np.uint8).tobytes())
