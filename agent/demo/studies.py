"""Invented studies for the demonstration.

Job: write studies of an invented head as DICOM files: T1 brains and diffusion studies that pass, one with dropouts and
a wrong echo time, one with slices missing. Place: called by ``runner`` and by tests; uses ``head`` and pydicom. The
same seed gives the same files, byte for byte. No name, number or date in them belongs to anybody.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage

from agent.demo import head

_NAMES = (
    "ALPHA", "BRAVO", "CHARLIE", "DELTA", "ECHO", "FOXTROT", "GOLF", "HOTEL", "INDIA", "JULIETT", "KILO", "LIMA",
    "MIKE", "NOVEMBER", "OSCAR", "PAPA", "QUEBEC", "ROMEO", "SIERRA", "TANGO", "UNIFORM", "VICTOR", "WHISKEY",
    "XRAY", "YANKEE", "ZULU",
)  # fmt: skip
_T1 = head.Grid(slices=56, matrix=128, pixel_mm=1.8, step_mm=2.5)
_DIFFUSION = head.Grid(slices=66, matrix=96, pixel_mm=2.1, step_mm=2.0)
_FULL_SCALE = 2600.0  # stored value of the brightest tissue
B_VALUE = 1000.0
_DIRECTIONS, _FEW_DIRECTIONS = 30, 10  # and two volumes without weighting
_MISSING = frozenset(range(24, 31))
DROPOUT_VOLUMES = (3, 5, 6, 8)


class StudyKind(StrEnum):
    """What a study is there to show."""

    T1 = "t1"
    DIFFUSION = "diffusion"
    DROPOUTS = "dropouts"
    INCOMPLETE = "incomplete"


@dataclass(frozen=True, slots=True)
class DemoStudy:
    """A study to make: its kind, number and what to expect of it."""

    kind: StudyKind
    number: int
    expectation: str

    @property
    def name(self) -> str:
        """Invented family and given name."""
        turn, index = divmod(self.number - 1, len(_NAMES))
        return f"DEMO^{_NAMES[index]}" + (str(turn + 1) if turn else "")

    @property
    def images(self) -> int:
        """How many images it has."""
        match self.kind:
            case StudyKind.T1:
                return _T1.slices
            case StudyKind.INCOMPLETE:
                return _T1.slices - len(_MISSING)
            case StudyKind.DROPOUTS:
                return _DIFFUSION.slices * (2 + _FEW_DIRECTIONS)
            case StudyKind.DIFFUSION:
                return _DIFFUSION.slices * (2 + _DIRECTIONS)


def plan(count: int) -> list[DemoStudy]:
    """Return the studies of a demonstration of `count` studies, in the order they are sent."""
    leading = (
        (StudyKind.T1, "passes and is delivered"),
        (StudyKind.INCOMPLETE, "stays Unstable: slices are missing"),
        (StudyKind.DROPOUTS, "fails quality control: signal dropouts, wrong echo time"),
        (StudyKind.DIFFUSION, "passes the diffusion protocol and is delivered"),
    )
    kinds = [*leading, *[leading[0]] * max(0, count - len(leading))]
    return [DemoStudy(kind, number, words) for number, (kind, words) in enumerate(kinds[:count], 1)]


def study_uid_of(study: DemoStudy) -> str:
    """Return the Study Instance UID of `study`."""
    return str(_uid(study, "study"))


def write_study(study: DemoStudy, folder: Path, seed: int = 1) -> list[Path]:
    """Write the files of `study` into `folder` and return them in the order of acquisition."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, ds in enumerate(_objects(study, seed), 1):
        path = folder / f"{number:05d}.dcm"
        path.write_bytes(_part10(ds))
        paths.append(path)
    return paths


def _objects(study: DemoStudy, seed: int) -> Iterator[Dataset]:
    rng = np.random.default_rng([seed, study.number])
    match study.kind:
        case StudyKind.T1:
            yield from _t1(study, rng, frozenset())
        case StudyKind.INCOMPLETE:
            yield from _t1(study, rng, _MISSING)
        case StudyKind.DIFFUSION:
            yield from _diffusion(study, rng, directions=_DIRECTIONS, te_ms=88.0)
        case StudyKind.DROPOUTS:
            yield from _diffusion(study, rng, directions=_FEW_DIRECTIONS, te_ms=118.0)


def _t1(study: DemoStudy, rng: np.random.Generator, missing: frozenset[int]) -> Iterator[Dataset]:
    tr_ms, te_ms = 600.0, 12.0
    levels = head.spin_echo(tr_ms, te_ms)
    scale = _FULL_SCALE / float(levels.max())
    volume = head.soften(levels[head.paint(_T1, rng)] * np.float32(scale)) * head.coil(_T1)
    pixels = head.scan(volume, 0.015 * _FULL_SCALE, rng)
    template = _template(study, _T1, "T1 spin echo axial", tr_ms, te_ms)
    template.ScanningSequence, template.SequenceVariant, template.SequenceName = "SE", "NONE", "se2d1"
    template.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
    for index in range(_T1.slices):
        if index not in missing:
            yield _slice(template, _T1, index, index + 1, pixels[index])


def _diffusion(study: DemoStudy, rng: np.random.Generator, *, directions: int, te_ms: float) -> Iterator[Dataset]:
    grid, tr_ms = _DIFFUSION, 9000.0
    labels, field = head.paint(grid, rng), head.coil(grid)
    levels = head.spin_echo(tr_ms, te_ms)
    scale = np.float32(_FULL_SCALE / float(levels.max()))
    sigma = float(levels[head.TRACT_AP]) * float(scale) / 45
    template = _template(study, grid, "Diffusion axial", tr_ms, te_ms)
    template.ScanningSequence, template.SequenceVariant, template.SequenceName = ["EP", "SE"], "NONE", "ep2d_diff"
    template.ImageType = ["ORIGINAL", "PRIMARY", "DIFFUSION", "NONE"]
    gradients = [None, None, *head.directions(directions)]
    number = 0
    for volume_index, gradient in enumerate(gradients):
        weight = np.ones_like(levels) if gradient is None else head.attenuation(B_VALUE, gradient)
        volume = head.soften((levels * weight * scale)[labels]) * field
        if study.kind is StudyKind.DROPOUTS and volume_index in DROPOUT_VOLUMES:
            _drop(volume, rng)
        pixels = head.scan(volume, sigma, rng)
        for index in range(grid.slices):
            number += 1
            ds = _slice(template, grid, index, number, pixels[index])
            _weighting(ds, gradient)
            ds.AcquisitionNumber = volume_index + 1
            ds.AcquisitionTime = _time(
                36_000 + (volume_index + _order(index, grid.slices) / grid.slices) * tr_ms / 1000
            )
            yield ds


def _drop(volume: head.Signal, rng: np.random.Generator) -> None:
    """Take signal out of every third slice around the middle, as motion during the diffusion gradients does."""
    first = len(volume) // 4 + int(rng.integers(0, 3))
    volume[first : 3 * len(volume) // 4 : 3] *= np.float32(0.25)


def _order(index: int, slices: int) -> int:
    """Place of a slice in an interleaved acquisition: even ones first."""
    return index // 2 if index % 2 == 0 else (slices + 1) // 2 + index // 2


def _weighting(ds: Dataset, gradient: NDArray[np.float64] | None) -> None:
    """Diffusion elements of the Standard, PS3.3 C.8.13.5.9."""
    ds.DiffusionBValue = 0.0 if gradient is None else B_VALUE
    ds.DiffusionDirectionality = "NONE" if gradient is None else "DIRECTIONAL"
    if gradient is not None:
        ds.DiffusionGradientOrientation = [float(v) for v in gradient]


def _template(study: DemoStudy, grid: head.Grid, description: str, tr_ms: float, te_ms: float) -> Dataset:
    """Return the elements that all images of a series share."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID, ds.Modality = MRImageStorage, "MR"
    ds.PatientName, ds.PatientID = study.name, f"DEMO-{study.number:04d}"
    ds.PatientBirthDate, ds.PatientSex, ds.PatientAge = "19600101", "F" if study.number % 2 else "M", "065Y"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = _uid(study, "study"), _uid(study, "series")
    ds.FrameOfReferenceUID = _uid(study, "frame")
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20260105"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "100000.000000"
    ds.AccessionNumber, ds.StudyID, ds.ReferringPhysicianName = f"DEMO{study.number:05d}", str(study.number), ""
    ds.StudyDescription, ds.SeriesDescription, ds.ProtocolName = "MRI brain (demonstration)", description, description
    ds.Manufacturer, ds.ManufacturerModelName = "DEMONSTRATION", "Invented 3T"
    ds.StationName, ds.SoftwareVersions, ds.DeviceSerialNumber = "DEMOMR1", "1.0", "0001"
    ds.BodyPartExamined, ds.PatientPosition, ds.MRAcquisitionType = "BRAIN", "HFS", "2D"
    ds.MagneticFieldStrength, ds.RepetitionTime, ds.EchoTime, ds.FlipAngle = "3", f"{tr_ms:g}", f"{te_ms:g}", "90"
    ds.EchoTrainLength, ds.NumberOfAverages, ds.PixelBandwidth, ds.ImagingFrequency = "1", "1", "1500", "123.2"
    ds.InPlanePhaseEncodingDirection, ds.PercentSampling, ds.PercentPhaseFieldOfView = "COL", "100", "100"
    ds.AcquisitionMatrix, ds.ScanOptions = [0, grid.matrix, grid.matrix, 0], ""
    ds.SeriesNumber, ds.PositionReferenceIndicator = 1, ""
    ds.SliceThickness, ds.SpacingBetweenSlices = f"{grid.step_mm:g}", f"{grid.step_mm:g}"
    ds.PixelSpacing, ds.ImageOrientationPatient = [grid.pixel_mm] * 2, [1, 0, 0, 0, 1, 0]
    ds.Rows = ds.Columns = grid.matrix
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.WindowCenter, ds.WindowWidth = f"{_FULL_SCALE / 2:g}", f"{_FULL_SCALE:g}"
    return ds


def _slice(template: Dataset, grid: head.Grid, index: int, number: int, pixels: NDArray[np.uint16]) -> Dataset:
    ds = Dataset()
    ds.update(template)
    ds.SOPInstanceUID = UID(f"{template.SeriesInstanceUID[:52]}.{number}")
    ds.InstanceNumber = number
    ds.ImagePositionPatient = [round(v, 4) for v in grid.position(index)]
    ds.SliceLocation = f"{grid.position(index)[2]:g}"
    ds.AcquisitionTime = _time(36_000 + _order(index, grid.slices) * 2.0)
    ds.add_new("PixelData", "OW", pixels.astype("<u2").tobytes())
    return ds


def _time(seconds: float) -> str:
    """Return a DICOM time."""
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes) // 60 % 24:02d}{int(minutes) % 60:02d}{rest:09.6f}"


def _uid(study: DemoStudy, what: str) -> UID:
    digest = hashlib.sha256(f"demo|{study.kind}|{study.number}|{what}".encode()).digest()
    return UID(f"2.25.{int.from_bytes(digest[:16], 'big') >> 1}")


def _part10(ds: Dataset) -> bytes:
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    stream = io.BytesIO()
    dcmwrite(stream, ds, enforce_file_format=True)
    return stream.getvalue()
