"""Measure one image object: headers, then numbers of every slice.

Job: join reading, decoding, kernels and formulas into an `ImageMeasurement`. Place: called by `agent.qc.worker` and
``agent qc``; calls `agent.qc.reading` and `agent.qc.numbers`. It must never judge, never raise for what an object
holds, never keep pixels, and never import numba before a cache folder is set.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from agent.errors import BadDataset
from agent.logs import get_logger
from agent.qc.image_headers import FrameHeaders, ImageHeaders
from agent.qc.measurement import MEASURE_CODE, REASONS, FrameNumbers, ImageMeasurement, NotComputable, Problem
from agent.qc.reading.headers import read_headers
from agent.qc.reading.objects import DAMAGE, read_part10
from agent.qc.reading.pixels import PixelReader
from agent.qc.reading.quiet import quiet_reading
from agent.qc_kernels.cache import user_cache, warm_cache

log = get_logger("qc.measure")
_PROBLEMS = {
    "integrity": "The stored object is damaged or its key is missing.",
    "unreadable": "The data set cannot be parsed.",
    "too_large": REASONS["too_large"],
    "unmeasurable": "The object is so damaged that it could not be measured.",
    "lossy": "The image went through lossy compression.",
    "inverted": "The image is stored as MONOCHROME1; it was measured as stored.",
    "junk_bits": "Pixels hold bits above HighBit; they were masked.",
}

__all__ = ["MEASURE_CODE", "FrameNumbers", "ImageMeasurement", "NotComputable", "measure_dataset", "measure_file"]


class _MeasureSlice(Protocol):
    def __call__(
        self, pixels: NDArray[np.integer], headers: ImageHeaders, frame: FrameHeaders, problems: set[str]
    ) -> FrameNumbers | NotComputable: ...


@lru_cache(maxsize=1)
def _kernels() -> _MeasureSlice:
    """Import what imports numba, with the user's own cache unless a worker has set another."""
    if "NUMBA_CACHE_DIR" not in os.environ:
        warm_cache(user_cache())
    from agent.qc.numbers.slices import measure_slice

    return measure_slice


def measure_dataset(ds: Dataset, instance_id: int) -> ImageMeasurement:
    """Measure one object.

    Parameters
    ----------
    ds : Dataset
        The object, with file meta information if its pixels are to be decoded.
    instance_id : int
        Row of the instance; 0 outside the store.

    Returns
    -------
    ImageMeasurement
        An object that cannot be measured says why.
    """
    measure_slice = _kernels()
    with quiet_reading():
        headers = read_headers(ds)
        reader = PixelReader(ds, headers)
        frames: list[FrameNumbers | NotComputable] = []
        found: set[str] = set()
        has_lut = "ModalityLUTSequence" in ds
        for frame, item in zip(headers.frames, reader.slices(), strict=True):
            if isinstance(item, NotComputable):
                frames.append(item)
            elif has_lut:
                frames.append(NotComputable("modality_lut"))
            else:
                frames.append(measure_slice(item, headers, frame, found))
    problems = [*reader.problems, *(_problem(code) for code in (*sorted(found), *_header_problems(headers)))]
    return ImageMeasurement(instance_id, MEASURE_CODE, headers, tuple(frames), tuple(problems))


def _header_problems(headers: ImageHeaders) -> list[str]:
    facts = headers.pixels
    codes = []
    if facts.lossy == "01" or (facts.lossy_ratio is not None and facts.lossy_ratio > 1):
        codes.append("lossy")
    if headers.is_image and facts.photometric == "MONOCHROME1":
        codes.append("inverted")
    return codes


def _problem(code: str) -> Problem:
    return Problem(code, _PROBLEMS[code])


def measure_bytes(data: bytes, instance_id: int, known: ImageHeaders) -> ImageMeasurement:
    """Measure the bytes of one object, whatever they are.

    Parameters
    ----------
    data : bytes
        A Part 10 stream.
    instance_id : int
        Row of the instance.
    known : ImageHeaders
        What the measurement says about an object that cannot be read.
    """
    try:
        return measure_dataset(read_part10(data), instance_id)
    except BadDataset as error:
        return failed(instance_id, known, error.code)
    except DAMAGE as error:
        log.warning("measure_failed", kind=type(error).__name__)
        return failed(instance_id, known, "unmeasurable")


def failed(instance_id: int, known: ImageHeaders, code: str) -> ImageMeasurement:
    """Make the measurement of an object that could not be measured.

    Parameters
    ----------
    instance_id : int
        Row of the instance.
    known : ImageHeaders
        What is known of it otherwise.
    code : str
        ``integrity``, ``unreadable``, ``too_large`` or ``unmeasurable``.
    """
    return ImageMeasurement(instance_id, MEASURE_CODE, known, problems=(_problem(code),))


def measure_file(path: Path, instance_id: int = 0) -> ImageMeasurement:
    """Measure one file.

    Parameters
    ----------
    path : Path
        A Part 10 file; a data set without file meta information is tried too.
    instance_id : int, optional
        Number that the measurement carries.

    Raises
    ------
    OSError
        When the file cannot be opened.
    """
    return measure_bytes(path.read_bytes(), instance_id, ImageHeaders())
