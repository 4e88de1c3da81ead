"""Measured images arranged as series: what is graded, what is set aside, stacks, grids, volumes.

Job: group measurements by Series Instance UID, set aside derived and duplicate slices, sort by the projection of the
position on the normal, and assemble volumes. Place: called by the judge; read by every check. It must never sort by
InstanceNumber or file name, and never mix the slices of different components, echoes or orientations in one grid.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agent.completeness.grid import SliceGrid, build_grid
from agent.completeness.ledger import merge_stacks
from agent.completeness.sequence_class import B0_MAX, Classification
from agent.qc.classify import classify_slices, is_derived_slice
from agent.qc.image_headers import FrameHeaders, Vector3
from agent.qc.measurement import FrameNumbers, ImageMeasurement, NotComputable

PLACES = 3


@dataclass(frozen=True, slots=True)
class Slice:
    """One two-dimensional slice: its headers, its numbers, the object it came in."""

    image: ImageMeasurement
    frame: FrameHeaders
    numbers: FrameNumbers | NotComputable

    @property
    def location_mm(self) -> float | None:
        """Position along the normal."""
        return self.frame.slice_location_mm

    @property
    def measured(self) -> FrameNumbers | None:
        """The numbers, if there are any."""
        return self.numbers if isinstance(self.numbers, FrameNumbers) else None


@dataclass(frozen=True, slots=True)
class Volume:
    """Slices of one moment and weighting, ascending along the normal."""

    b_value: float | None
    gradient: Vector3 | None
    slices: tuple[Slice, ...]

    @property
    def is_weighted(self) -> bool:
        """Whether it is diffusion weighted."""
        return self.b_value is not None and self.b_value > B0_MAX


@dataclass(frozen=True, slots=True)
class SetAside:
    """Slices that are counted and not graded."""

    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class Series:
    """One series as it is judged."""

    uid: str
    number: int | None
    images: tuple[ImageMeasurement, ...]
    slices: tuple[Slice, ...]
    set_aside: tuple[SetAside, ...]
    duplicates: tuple[Slice, ...]
    classification: Classification
    stacks: int
    grid: SliceGrid | None
    volumes: tuple[Volume, ...]

    @property
    def label(self) -> str:
        """Name of the series in reports: its number and class, no free text."""
        number = f"Series {self.number}" if self.number is not None else "Series without number"
        return f"{number} ({CLASS_WORDS[self.classification.sequence_class]})"

    @property
    def is_graded(self) -> bool:
        """Whether it is an original image series."""
        return self.classification.is_graded and bool(self.slices)

    @property
    def vendor(self) -> str:
        """Vendor of the scanner."""
        return self.images[0].headers.vendor or self.images[0].headers.manufacturer

    @property
    def modality(self) -> str:
        """Modality of the first image."""
        return self.images[0].headers.modality

    @property
    def directions(self) -> int:
        """Diffusion-weighted volumes with a direction."""
        return sum(1 for v in self.volumes if v.is_weighted and v.gradient is not None)


CLASS_WORDS = {
    "dwi": "diffusion", "bold": "functional MR", "asl": "arterial spin labelling", "fieldmap": "field map",
    "swi": "susceptibility", "flair": "FLAIR", "t1": "T1", "t2": "T2", "pd": "proton density", "mr": "MR",
    "ct": "CT", "non_image": "no images", "derived": "derived images", "localizer": "localizer", "other": "other",
}  # fmt: skip


def arrange(measurements: Iterable[ImageMeasurement]) -> tuple[Series, ...]:
    """Arrange all measurements of a study, ordered by series number."""
    by_uid: dict[str, list[ImageMeasurement]] = defaultdict(list)
    for measurement in measurements:
        by_uid[measurement.headers.series_uid].append(measurement)
    series = [_one_series(uid, images) for uid, images in by_uid.items()]
    return tuple(sorted(series, key=lambda s: (s.number is None, s.number or 0, s.uid)))


def _one_series(uid: str, images: Sequence[ImageMeasurement]) -> Series:
    slices = [
        Slice(image, frame, numbers)
        for image in images
        for frame, numbers in zip(image.headers.frames, image.frames, strict=False)
    ]
    classification = classify_slices(images, [s.frame for s in slices])
    aside: Counter[str] = Counter()
    graded: list[Slice] = []
    for item in slices if classification.is_graded else []:
        reason = is_derived_slice(item.image.headers, item.frame)
        if reason:
            aside[reason] += 1
        else:
            graded.append(item)
    graded, other = _main_component(graded)
    aside.update(other)
    graded, duplicates = _without_duplicates(graded)
    stacks, grid = _grid(graded)
    numbers = [i.headers.series_number for i in images if i.headers.series_number is not None]
    return Series(
        uid=uid,
        number=numbers[0] if numbers else None,
        images=tuple(images),
        slices=tuple(sorted(graded, key=_order)),
        set_aside=tuple(SetAside(reason, count) for reason, count in sorted(aside.items())),
        duplicates=tuple(duplicates),
        classification=classification,
        stacks=stacks,
        grid=grid,
        volumes=_volumes(graded) if stacks == 1 else (),
    )


def _main_component(slices: list[Slice]) -> tuple[list[Slice], Counter[str]]:
    """Keep the magnitude images where phase, real or imaginary ones lie beside them."""
    aside: Counter[str] = Counter()
    kinds = {s.frame.component for s in slices}
    if len(kinds) < 2 or "MAGNITUDE" not in kinds:
        return slices, aside
    kept = [s for s in slices if s.frame.component in ("MAGNITUDE", "")]
    aside["phase, real or imaginary images"] = len(slices) - len(kept)
    return kept, aside


def _without_duplicates(slices: list[Slice]) -> tuple[list[Slice], list[Slice]]:
    """Take out slices with the same pixels at the same place and weighting as another."""
    seen: set[tuple[object, ...]] = set()
    kept: list[Slice] = []
    again: list[Slice] = []
    for item in slices:
        numbers = item.measured
        if numbers is None or not numbers.digest or numbers.is_blank or item.location_mm is None:
            kept.append(item)
            continue
        key = (numbers.digest, round(item.location_mm, 2), _weighting(item), item.frame.echo_time)
        (again if key in seen else kept).append(item)
        seen.add(key)
    return kept, again


def _weighting(item: Slice) -> tuple[float | None, Vector3 | None]:
    b = item.frame.b_value
    if b is None:
        return None, None
    if b <= B0_MAX:
        return 0.0, None
    gradient = item.frame.gradient
    rounded = None if gradient is None else (round(gradient[0], 3), round(gradient[1], 3), round(gradient[2], 3))
    return round(b), rounded


def _grid(slices: Sequence[Slice]) -> tuple[int, SliceGrid | None]:
    stacks: dict[tuple[float, ...], Counter[float]] = {}
    for item in slices:
        if item.location_mm is not None and item.frame.orientation is not None:
            key = tuple(round(x, PLACES) + 0.0 for x in item.frame.orientation)
            stacks.setdefault(key, Counter())[round(item.location_mm, PLACES)] += 1
    merged = merge_stacks(stacks)
    if len(merged) != 1 or sum(merged[0].values()) != len(slices):
        return len(merged), None
    return 1, build_grid(merged[0], slices[0].frame.slice_thickness)


def _order(item: Slice) -> tuple[float, int, int]:
    return (
        item.location_mm if item.location_mm is not None else 0.0,
        item.frame.temporal_position or 0,
        item.frame.index,
    )


def _moment(item: Slice) -> tuple[object, ...]:
    frame, headers = item.frame, item.image.headers
    return (
        frame.temporal_position or 0,
        frame.acquisition_number or 0,
        frame.acquisition_time,
        headers.instance_number or 0,
        frame.index,
    )


def _volumes(slices: Sequence[Slice]) -> tuple[Volume, ...]:
    """Assemble volumes: by echo and weighting, then the n-th image at each position belongs to the n-th volume."""
    groups: dict[tuple[object, ...], dict[float, list[Slice]]] = defaultdict(lambda: defaultdict(list))
    for item in slices:
        if item.location_mm is not None:
            key = (*_weighting(item), item.frame.echo_time, item.frame.echo_number)
            groups[key][round(item.location_mm, 1)].append(item)
    volumes: list[Volume] = []
    for _, places in sorted(groups.items(), key=lambda pair: tuple(str(part) for part in pair[0])):
        for stack in places.values():
            stack.sort(key=lambda s: tuple(str(part).zfill(12) for part in _moment(s)))
        for n in range(max(len(stack) for stack in places.values())):
            chosen = tuple(stack[n] for _, stack in sorted(places.items()) if n < len(stack))
            first = chosen[0].frame
            volumes.append(Volume(first.b_value, first.gradient, chosen))
    return tuple(sorted(volumes, key=lambda v: v.b_value or 0.0))
