"""Every metric's name, labels and meaning, once.

Job: declare the Prometheus metrics; count across processes through the files of prometheus-client's multi-process
mode. Place: rooms increment; ``web`` renders. Labels
come from closed sets only; no label, name or value may identify a patient, a study or a peer.
"""

from __future__ import annotations

import os
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def forget_earlier_runs() -> None:
    """Remove what processes of earlier runs counted; by the engine, once it owns the folder."""
    folder = os.environ.get(VARIABLE)
    for old in Path(folder).glob("*.db") if folder else ():
        if not old.stem.endswith(f"_{os.getpid()}"):
            old.unlink(missing_ok=True)


def forget_process(pid: int) -> None:
    """Drop the gauges of a process that has ended; its counters stay in the sums."""
    if os.environ.get(VARIABLE):
        mark_process_dead(pid)  # type: ignore[no-untyped-call]


def render() -> bytes:
    """Return all metrics of all processes in the Prometheus text format."""
    registry = CollectorRegistry()
    if os.environ.get(VARIABLE):
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
    return generate_latest()


OBJECTS_RECEIVED = Counter("agent_received_objects", "Objects answered, by kind of DIMSE status.", ["outcome"])
BYTES_RECEIVED = Counter("agent_received_bytes", "Bytes of data sets answered Success.")
STORE_SECONDS = Histogram(
    "agent_store_seconds", "From the last byte of an object to its response.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5),
)  # fmt: skip
ASSOCIATIONS = Counter("agent_associations", "Associations, by outcome.", ["outcome"])
TRANSITIONS = Counter("agent_study_transitions", "Transitions of studies, by status reached.", ["status"])
LIVE_STUDIES = Gauge("agent_live_studies", "Study actors alive.", multiprocess_mode="livesum")
QC_SECONDS = Histogram("agent_qc_seconds", "Time of a judgement.", buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30))
QC_VERDICTS = Counter("agent_qc_verdicts", "Verdicts of quality control.", ["verdict"])
MEASURED_IMAGES = Counter("agent_measured_images", "Images measured by the kernels.")
UPLOADED_OBJECTS = Counter("agent_uploaded_objects", "Objects sent to the cloud.")
UPLOADED_BYTES = Counter("agent_uploaded_bytes", "Bytes sent to the cloud.")
UPLOAD_RETRIES = Counter("agent_upload_retries", "Transfers repeated, by cause.", ["cause"])
DEID_OBJECTS = Counter("agent_deidentified_objects", "Objects de-identified, by outcome.", ["outcome"])
NOTIFICATIONS = Counter("agent_notifications", "Notifications, by outcome.", ["outcome"])
RESTARTS = Counter("agent_process_restarts", "Child processes started again, by kind.", ["process"])
ACTOR_CRASHES = Counter("agent_actor_crashes", "Actors that failed, by kind.", ["actor"])
ALARMS = Gauge("agent_alarms", "Alarms open.", multiprocess_mode="livesum")
