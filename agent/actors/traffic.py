"""What comes in at this moment: open associations and ages on the monotonic clock.

Job: remember which open association brought images of which study, and how long ago something came. Place: written by
``agent.arrivals`` in the threads of the receiver pool, read by study actors. It must never be needed for correctness:
it is empty after a start, and then quiet time starts again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

from agent.clock import Clock


@dataclass(frozen=True, slots=True)
class AssociationAge:
    """An open association that brought images of a study."""

    id: str
    last_traffic_age_s: float


@dataclass(frozen=True, slots=True)
class StudyAges:
    """How long ago things of a study came, seconds on the monotonic clock."""

    first_arrival_s: float
    last_arrival_s: float
    series_s: dict[str, float]
    associations: tuple[AssociationAge, ...]
    last_association_end_s: float


@dataclass(slots=True)
class _StudyTimes:
    first: float
    last: float
    series: dict[str, float] = field(default_factory=dict)
    associations: set[str] = field(default_factory=set)
    last_end: float = 0.0


@dataclass(slots=True)
class _AssociationTimes:
    last_traffic: float
    studies: set[str] = field(default_factory=set)


class Traffic:
    """Thread-safe book of what comes in.

    Parameters
    ----------
    clock : Clock
        Whose monotonic time counts.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since = clock.monotonic()
        self._lock = threading.Lock()
        self._studies: dict[str, _StudyTimes] = {}
        self._associations: dict[str, _AssociationTimes] = {}

    def arrived(self, study_id: str, association_id: str, series: Iterable[str]) -> None:
        """Note that images of a study came through an association."""
        now = self._clock.monotonic()
        with self._lock:
            study = self._studies.setdefault(study_id, _StudyTimes(now, now))
            study.last = now
            study.series.update(dict.fromkeys(series, now))
            association = self._associations.get(association_id)
            if association is not None:
                association.last_traffic = now
                association.studies.add(study_id)
                study.associations.add(association_id)

    def opened(self, association_id: str) -> None:
        """Note that an association is open."""
        with self._lock:
            self._associations[association_id] = _AssociationTimes(self._clock.monotonic())

    def closed(self, association_id: str) -> set[str]:
        """Note that an association is over and return the studies it brought images of."""
        now = self._clock.monotonic()
        with self._lock:
            association = self._associations.pop(association_id, None)
            if association is None:
                return set()
            for study_id in association.studies:
                study = self._studies.get(study_id)
                if study is not None:
                    study.associations.discard(association_id)
                    study.last_end = now
            return association.studies

    def ages(self, study_id: str) -> StudyAges:
        """Return the ages of a study; what was not seen since the start is as old as the agent's run."""
        now = self._clock.monotonic()
        with self._lock:
            study = self._studies.get(study_id) or _StudyTimes(self._since, self._since)
            open_now = [(a, self._associations[a]) for a in study.associations if a in self._associations]
            return StudyAges(
                first_arrival_s=now - study.first,
                last_arrival_s=now - study.last,
                series_s={uid: now - at for uid, at in study.series.items()},
                associations=tuple(AssociationAge(a, now - times.last_traffic) for a, times in sorted(open_now)),
                last_association_end_s=now - max(study.last_end, self._since),
            )

    def forget(self, study_id: str) -> None:
        """Drop the times of a study that is complete and has no open association."""
        with self._lock:
            study = self._studies.get(study_id)
            if study is not None and not study.associations:
                del self._studies[study_id]

    @property
    def open_associations(self) -> int:
        """How many associations are open."""
        with self._lock:
            return len(self._associations)
