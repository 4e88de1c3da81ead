"""Small synthetic DICOM objects for tests: made on the spot, nobody's images."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid


def make_image(
    *,
    study_uid: str | None = None,
    series_uid: str | None = None,
    sop_uid: str | None = None,
    modality: str = "MR",
    number: int = 1,
    shape: tuple[int, int] = (32, 32),
    patient_id: str = "TEST-0001",
    patient_name: str = "Test^Case",
    seed: int = 0,
    **elements: object,
) -> Dataset:
    """One slice with plausible headers; `elements` are set by keyword afterwards (None deletes)."""
    rng = np.random.default_rng(seed * 10_007 + number)
    ds = Dataset()
    ds.SOPClassUID = CTImageStorage if modality == "CT" else MRImageStorage
    ds.SOPInstanceUID = sop_uid or generate_uid()
    ds.StudyInstanceUID = study_uid or generate_uid()
    ds.SeriesInstanceUID = series_uid or generate_uid()
    ds.PatientID, ds.PatientName = patient_id, patient_name
    ds.PatientBirthDate, ds.PatientSex, ds.PatientAge = "19600102", "F", "065Y"
    ds.StudyDate, ds.StudyTime = "20260102", "101500"
    ds.AccessionNumber, ds.StudyID = "ACC0001", "1"
    ds.ReferringPhysicianName = "Ref^Doctor"
    ds.Modality, ds.Manufacturer, ds.ManufacturerModelName = modality, "SYNTHETIC", "Model"
    ds.StudyDescription, ds.SeriesDescription = "Brain", "Axial"
    ds.SeriesNumber, ds.InstanceNumber = 1, number
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    ds.ImagePositionPatient = [0, 0, 2.0 * number]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.FrameOfReferenceUID = generate_uid(entropy_srcs=[ds.SeriesInstanceUID])
    ds.PixelSpacing, ds.SliceThickness = [1.0, 1.0], 2.0
    ds.Rows, ds.Columns = shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    disc = ((y - shape[0] / 2) ** 2 + (x - shape[1] / 2) ** 2) < (min(shape) / 2.8) ** 2
    pixels = np.where(disc, 600, 10) + rng.integers(0, 30, shape)
    ds.PixelData = pixels.astype("<u2").tobytes()
    ds["PixelData"].VR = "OW"
    for keyword, value in elements.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return ds


def as_part10(ds: Dataset, transfer_syntax: str = ExplicitVRLittleEndian) -> bytes:
    """The data set as a Part 10 file."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = transfer_syntax
    buffer = BytesIO()
    dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


def make_series(count: int, **options: object) -> list[Dataset]:
    """`count` slices of one series of one study."""
    options = {"study_uid": generate_uid(), "series_uid": generate_uid(), **options}
    return [make_image(number=n + 1, **options) for n in range(count)]  # type: ignore[arg-type]


def write_series(folder: Path, datasets: list[Dataset]) -> list[Path]:
    """Write data sets as files and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for n, ds in enumerate(datasets):
        path = folder / f"{n:05d}.dcm"
        path.write_bytes(as_part10(ds))
        paths.append(path)
    return paths
