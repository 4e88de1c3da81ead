"""Instances folded into a few counts a series, so that a decision is cheap.

Job: keep, for each series, the counts that the judges need; adding one instance costs microseconds, and a study of
ten thousand is judged after each batch without going through all of them again. Place: kept by the study's actor or
built by ``StudyEvidence``; read by the judges. It must never depend on the order of arrival.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from agent.completeness.grid import SliceGrid, build_grid, normal_of, project
from agent.completeness.sequence_class import IMAGE_CLASSES, SeriesTraits

B0_MAX = 50.0
PLACES = 3
TILES = ("siemens_mosaic", "uih_tiles")
GRADIENT_PLACES = 3

Direction = tuple[float, ...]
VolumeKey = tuple[int, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class InstanceEvidence:
    """One active instance: its identity and the header facts read on arrival.

    Attributes
    ----------
    facts : mapping
        Fields of ``agent.dicom.facts.HeaderFacts`` by name; absent ones count as silent.
    received_at_s : float or None
        Monotonic time of arrival; with it the usual gap between images of a series is known.
    """

    series_uid: str
    sop_uid: str
    sop_class_uid: str
    facts: Mapping[str, object]
    received_at_s: float | None = None


@dataclass(slots=True)
class SeriesLedger:
    """Counts of one series."""

    uid: str
    number: int | None = None
    images: int = 0
    others: int = 0
    derived: int = 0
    isotropic: int = 0
    facts: Mapping[str, object] = field(default_factory=dict)
    sop_class_uid: str = ""
    stacks: dict[tuple[float, ...], Counter[float]] = field(default_factory=dict)
    volumes: dict[VolumeKey, int] = field(default_factory=dict)
    instance_numbers: set[int] = field(default_factory=set)
    unnumbered: int = 0
    frames: int = 0
    cut_frames: int = 0
    tiled: int = 0
    multiframe: int = 0
    echoes: set[float] = field(default_factory=set)
    last_received_s: float | None = None
    largest_gap_s: float = 0.0

    def add(self, instance: InstanceEvidence) -> None:
        """Count one instance."""
        facts = instance.facts
        if self.number is None:
            self.number = _integer(facts.get("series_number"))
        self._time(instance.received_at_s)
        if instance.sop_class_uid not in IMAGE_CLASSES:
            self.others += 1
            return
        if _is_derived(facts):
            self.derived += 1
            self.isotropic += facts.get("directionality") == "ISOTROPIC"
            return
        self.images += 1
        if not self.facts:
            self.facts, self.sop_class_uid = facts, instance.sop_class_uid
        self._number(facts)
        frames = _integer(facts.get("number_of_frames")) or 1
        self.frames += frames
        self.multiframe += frames > 1
        self.cut_frames += max(0, frames - (_integer(facts.get("frame_items")) or frames))
        self.tiled += any(facts.get(key) for key in TILES) or "VFRAME" in _texts(facts.get("image_type"))
        echo = _number(facts.get("echo_time"))
        if echo is not None:
            self.echoes.add(round(echo, 2))
        self._place(facts)
        self._weight(facts)

    def _time(self, received_at_s: float | None) -> None:
        if received_at_s is None:
            return
        if self.last_received_s is not None:
            self.largest_gap_s = max(self.largest_gap_s, received_at_s - self.last_received_s)
        self.last_received_s = max(received_at_s, self.last_received_s or received_at_s)

    def _number(self, facts: Mapping[str, object]) -> None:
        number = _integer(facts.get("instance_number"))
        if number is None or number in self.instance_numbers:
            self.unnumbered += 1
        else:
            self.instance_numbers.add(number)

    def _place(self, facts: Mapping[str, object]) -> None:
        position, orientation = facts.get("position"), facts.get("orientation")
        if not isinstance(position, tuple | list) or not isinstance(orientation, tuple | list) or len(orientation) != 6:
            return
        key = tuple(round(float(x), PLACES) + 0.0 for x in orientation)
        place = round(project(position, normal_of(orientation)), PLACES)
        self.stacks.setdefault(key, Counter())[place] += 1

    def _weight(self, facts: Mapping[str, object]) -> None:
        b = _number(facts.get("b_value"))
        if b is None:
            return
        gradient = facts.get("gradient")
        direction: Direction = ()
        if b > B0_MAX and isinstance(gradient, tuple | list):
            direction = tuple(round(float(x), GRADIENT_PLACES) + 0.0 for x in gradient)
        key = (round(b) if b > B0_MAX else 0, direction)
        self.volumes[key] = self.volumes.get(key, 0) + 1

    @property
    def is_one_image_an_object(self) -> bool:
        """Whether each object is one slice, so that the slice grid can be read from the headers."""
        return self.images > 0 and self.multiframe == 0 and self.tiled == 0

    def grid(self) -> SliceGrid | None:
        """Return the slice grid; None when the series has no single stack of one-slice objects."""
        stacks = merge_stacks(self.stacks)
        if not self.is_one_image_an_object or len(stacks) != 1 or sum(stacks[0].values()) != self.images:
            return None
        return build_grid(stacks[0], _number(self.facts.get("slice_thickness")))

    def traits(self) -> SeriesTraits:
        """Return what can be said of the class of the series from the facts of arrival."""
        facts = self.facts
        return SeriesTraits(
            sop_class_uid=self.sop_class_uid,
            modality=str(facts.get("modality") or ""),
            image_type=_texts(facts.get("image_type")),
            echo_time=_number(facts.get("echo_time")),
            repetition_time=_number(facts.get("repetition_time")),
            inversion_time=_number(facts.get("inversion_time")),
            flip_angle=_number(facts.get("flip_angle")),
            scanning_sequence=_texts(facts.get("scanning_sequence")),
            sequence_name=str(facts.get("sequence_name") or ""),
            acquisition_type=str(facts.get("acquisition_type") or ""),
            slice_thickness=_number(facts.get("slice_thickness")),
            b_values=tuple(float(b) for b, _ in self.volumes),
            orientations=max(1, len(merge_stacks(self.stacks))),
            positions=max((len(stack) for stack in self.stacks.values()), default=0),
            description=str(facts.get("series_description") or ""),
            protocol=str(facts.get("protocol_name") or ""),
        )


def merge_stacks(stacks: Mapping[tuple[float, ...], Counter[float]]) -> list[Counter[float]]:
    """Join stacks whose orientations differ by less than 0.1 degree: scanners round each image on its own."""
    joined: list[tuple[tuple[float, ...], Counter[float]]] = []
    for orientation, places in stacks.items():
        for known, counts in joined:
            if all(abs(a - b) <= 0.002 for a, b in zip(known, orientation, strict=True)):
                counts.update(places)
                break
        else:
            joined.append((orientation, Counter(places)))
    return [places for _, places in joined]


@dataclass(slots=True)
class StudyLedger:
    """All series of a study."""

    series: dict[str, SeriesLedger] = field(default_factory=dict)

    @classmethod
    def of(cls, instances: Iterable[InstanceEvidence]) -> StudyLedger:
        """Fold all instances."""
        ledger = cls()
        for instance in instances:
            ledger.add(instance)
        return ledger

    def add(self, instance: InstanceEvidence) -> None:
        """Count one instance; the caller gives each SOP Instance UID once."""
        series = self.series.get(instance.series_uid)
        if series is None:
            series = self.series[instance.series_uid] = SeriesLedger(instance.series_uid)
        series.add(instance)

    @property
    def instances(self) -> int:
        """Objects of any kind."""
        return sum(s.images + s.others + s.derived for s in self.series.values())


def _is_derived(facts: Mapping[str, object]) -> bool:
    kind = _texts(facts.get("image_type"))
    return kind[:1] == ("DERIVED",) or facts.get("directionality") == "ISOTROPIC"


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value.upper(),) if value else ()
    return tuple(str(item).upper() for item in value) if isinstance(value, tuple | list) else ()


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _integer(value: object) -> int | None:
    if isinstance(value, str):
        return int(value) if value.strip().lstrip("-").isdigit() else None
    return int(value) if isinstance(value, int | float) else None
