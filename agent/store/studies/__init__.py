"""Studies, series and instances: index, transitions, reads, deletion.

Job: the aggregate around the study's row. Place: writes inside operations of the writer, reads anywhere. Status,
flags and revision must never change but through ``record_transition``.
"""

from agent.store.studies.export import ExportReport, export_study
from agent.store.studies.index import (
    IndexFacts,
    IndexOutcome,
    IndexRow,
    StudyArrivals,
    index_records,
    indexed_offsets,
)
from agent.store.studies.rows import (
    InstanceRow,
    SeriesRow,
    StudyRow,
    due_studies,
    read_instance,
    read_instances,
    read_series,
    read_study,
    resolve,
    studies_past_retention,
    unfinished_studies,
)
from agent.store.studies.shred import shred, unlink_dead
from agent.store.studies.transition import (
    StaleTransition,
    Transition,
    expect_series,
    record_transition,
    update_progress,
)

__all__ = [
    "ExportReport", "IndexFacts", "IndexOutcome", "IndexRow", "InstanceRow", "SeriesRow", "StaleTransition",
    "StudyArrivals",
    "StudyRow", "Transition", "due_studies", "expect_series", "export_study", "index_records", "indexed_offsets",
    "read_instance",
    "read_instances", "read_series", "read_study", "record_transition", "resolve", "shred",
    "studies_past_retention", "unfinished_studies",
    "unlink_dead", "update_progress",
]  # fmt: skip
