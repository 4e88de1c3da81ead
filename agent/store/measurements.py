"""What the kernels measured, one row an instance.

Job: keep measurements so that a judgement reads no pixel twice. Place: written by the QC dispatcher inside operations
of the writer. A row of other measuring code must never be used.
"""

from __future__ import annotations

from collections.abc import Iterable

from agent.store.database import change_many, query
from agent.store.studies.rows import InstanceRow, read_instances


def store_measurements(study_id: str, measured: Iterable[tuple[int, str, str]]) -> None:
    """Keep (instance id, code, body) triples of ``measure_objects``; instances that are gone are passed over."""
    change_many(
        "INSERT INTO measurement (instance_id, study_id, code, body_json) SELECT ?1, ?2, ?3, ?4 "
        "WHERE EXISTS (SELECT 1 FROM instance WHERE id = ?1) "
        "ON CONFLICT (instance_id) DO UPDATE SET code = excluded.code, body_json = excluded.body_json",
        [(instance_id, study_id, code, body) for instance_id, code, body in measured],
    )


def read_measurements(study_id: str, code: str) -> dict[int, str]:
    """Return the bodies of a study's active instances that `code` measured, by instance id."""
    rows = query(
        "SELECT m.instance_id, m.body_json FROM measurement m JOIN instance i ON i.id = m.instance_id "
        "WHERE m.study_id = ? AND m.code = ? AND i.active ORDER BY m.instance_id",
        (study_id, code),
    )
    return dict(rows)


def missing_measurements(study_id: str, code: str) -> list[InstanceRow]:
    """Return the active instances of a study that `code` has not measured yet."""
    done = read_measurements(study_id, code)
    return [instance for instance in read_instances(study_id) if instance.id not in done]
