"""Measuring in a worker process.

Job: read stored objects, measure them, give back JSON. Place: the dispatcher of quality control sends `MeasureTask` to
the pool; `warm_worker` is the pool's initialiser. It must never raise for what an object holds, and never log anything
of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from agent.errors import IntegrityError
from agent.logs import get_logger
from agent.qc.image_headers import ImageHeaders
from agent.qc.measure import failed, measure_bytes, measure_file
from agent.qc.measurement import ImageMeasurement
from agent.qc_kernels.cache import warm_cache
from agent.store.objects import ObjectReader, ObjectRef, part10_header

log = get_logger("qc.worker")

__all__ = ["MeasureTask", "measure_file", "measure_objects", "warm_worker"]


@dataclass(frozen=True, slots=True)
class MeasureTask:
    """Objects to measure.

    Attributes
    ----------
    segments : Path
        Folder of segments.
    secrets : dict of str to bytes
        Secret of each key id that the objects need.
    objects : tuple of ObjectRef
        What to measure.
    """

    segments: Path
    secrets: dict[str, bytes] = field(repr=False)
    objects: tuple[ObjectRef, ...]


def warm_worker(cache: Path) -> None:
    """Make every kernel ready in this process: load it, or compile it while all others wait.

    Parameters
    ----------
    cache : Path
        ``<data>/cache/numba``.
    """
    if warm_cache(cache):
        log.info("kernels_compiled")


def measure_objects(task: MeasureTask) -> list[tuple[int, str, str]]:
    """Measure stored objects.

    Parameters
    ----------
    task : MeasureTask
        What to measure.

    Returns
    -------
    list of (instance_id, code, body_json)
        One entry for each object, in order; damage is in the body as a problem.
    """
    rows = []
    with ObjectReader(task.segments, task.secrets) as reader:
        for ref in task.objects:
            measurement = _measure_object(reader, ref)
            rows.append((ref.instance_id, measurement.code, measurement.to_json()))
    return rows


def _measure_object(reader: ObjectReader, ref: ObjectRef) -> ImageMeasurement:
    known = ImageHeaders(sop_class_uid=ref.sop_class_uid, sop_uid=ref.sop_uid, series_uid=ref.series_uid)
    try:
        data = part10_header(ref) + reader.read(ref)
    except IntegrityError:
        return failed(ref.instance_id, known, "integrity")
    return measure_bytes(data, ref.instance_id, known)
