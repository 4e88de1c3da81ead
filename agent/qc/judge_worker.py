"""Judging one study in a worker process.

Job: turn stored measurements into a report and pictures; read again from the segments only the few objects that are
drawn. Place: submitted by the engine's QC dispatcher to the worker pool. It must never write, and never fail because
a picture could not be drawn.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError

from agent.errors import IntegrityError
from agent.qc.findings import QcReport
from agent.qc.matching import content_of
from agent.qc.measurement import ImageMeasurement, NotComputable
from agent.qc.profile import choose_profile, load_profile
from agent.qc.reading.pixels import PixelReader
from agent.qc.rendering.model import Picture
from agent.qc.rendering.pictures import choose, draw, series_to_draw
from agent.qc.series import Series, Slice, arrange
from agent.qc.verdict import judge_study
from agent.store.objects import ObjectReader, ObjectRef, part10_header

Pixels = NDArray[np.float64]
ReadBytes = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class JudgeTask:
    """What a worker needs to judge a study.

    Attributes
    ----------
    measurements : tuple of str
        ``ImageMeasurement.to_json`` of every active instance.
    profiles : Path or None
        Folder of site profiles.
    profile : str or None
        Name of the profile; None chooses one for what the study holds.
    incomplete : tuple of str
        Sentences of the judges of completeness that said *not met*.
    """

    segments: Path
    secrets: Mapping[str, bytes] = field(repr=False)
    objects: tuple[ObjectRef, ...]
    measurements: tuple[str, ...]
    profiles: Path | None = None
    profile: str | None = None
    incomplete: tuple[str, ...] = ()
    with_pictures: bool = True


@dataclass(frozen=True, slots=True)
class JudgedStudy:
    """A report and its pictures."""

    report: QcReport
    pictures: tuple[Picture, ...] = field(default=())


def judge_objects(task: JudgeTask) -> JudgedStudy:
    """Judge a study from its measurements.

    Raises
    ------
    ConfigError
        When the profile cannot be used.
    """
    measurements = [ImageMeasurement.from_json(text) for text in task.measurements]
    refs = {ref.instance_id: ref for ref in task.objects}
    with ObjectReader(task.segments, task.secrets) as reader:

        def read(instance_id: int) -> bytes:
            ref = refs[instance_id]
            return part10_header(ref) + reader.read(ref)

        return judge(
            measurements, read, profiles=task.profiles, profile=task.profile, incomplete=task.incomplete,
            with_pictures=task.with_pictures,
        )  # fmt: skip


def judge(
    measurements: Sequence[ImageMeasurement],
    read: ReadBytes,
    *,
    profiles: Path | None = None,
    profile: str | None = None,
    incomplete: Sequence[str] = (),
    with_pictures: bool = True,
) -> JudgedStudy:
    """Judge measurements, wherever their objects lie.

    Parameters
    ----------
    measurements : sequence of ImageMeasurement
        All objects of the study.
    read : callable
        Returns the Part 10 bytes of an instance id, for pictures.
    profiles, profile, incomplete, with_pictures
        As in `JudgeTask`.

    Raises
    ------
    ConfigError
        When the profile cannot be used.
    """
    series = arrange(measurements)
    loaded = load_profile(profile, profiles) if profile else choose_profile(content_of(series), profiles)
    report = judge_study(measurements, series, loaded, incomplete)
    pictures = _pictures(series, read) if with_pictures else ()
    return JudgedStudy(report, pictures)


def _pictures(series: Sequence[Series], read: ReadBytes) -> tuple[Picture, ...]:
    found: list[Picture] = []
    for one in series_to_draw(series):
        source = _PixelSource(read)
        picture = draw(one, choose(one), source.pixels_of)
        if picture is not None:
            found.append(picture)
    return tuple(found)


class _PixelSource:
    """Decodes slices of objects; keeps the last object, because several slices may lie in one."""

    def __init__(self, read: ReadBytes) -> None:
        self._read = read
        self._instance_id: int | None = None
        self._slices: list[Pixels | None] = []

    def pixels_of(self, item: Slice) -> Pixels | None:
        """Return the pixels of a slice, or None when its object cannot be read."""
        if item.image.instance_id != self._instance_id:
            self._slices = self._decode(item)
            self._instance_id = item.image.instance_id
        index = item.image.headers.frames.index(item.frame)
        return self._slices[index] if index < len(self._slices) else None

    def _decode(self, item: Slice) -> list[Pixels | None]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ds = pydicom.dcmread(io.BytesIO(self._read(item.image.instance_id)), force=True)
                reader = PixelReader(ds, item.image.headers)
                return [None if isinstance(s, NotComputable) else s.astype(np.float64) for s in reader.slices()]
        except (IntegrityError, InvalidDicomError, KeyError, OSError, ValueError):
            return []
