"""Makers of evidence: synthetic instances, and the facts of real files as the receiver reads them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pydicom

from agent.completeness import Decision, Finding, InstanceEvidence, OpenAssociation, StudyEvidence, decide
from agent.config import StudySettings
from agent.dicom.facts import read_facts

MR = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
SR = "1.2.840.10008.5.1.4.1.1.88.33"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def instance(
    number: int, z: float | None = None, series: str = "s1", sop_class: str = MR, **facts: object
) -> InstanceEvidence:
    known: dict[str, object] = {
        "series_number": 5,
        "modality": "MR",
        "instance_number": number,
        "rows": 64,
        "slice_thickness": 2.0,
    }
    if z is not None:
        known |= {"position": (0.0, 0.0, z), "orientation": AXIAL}
    known |= facts
    at = known.pop("received_at_s", None)
    return InstanceEvidence(series, f"{series}.{number}", sop_class, known, at)  # type: ignore[arg-type]


def stack(count: int, *, without: Iterable[int] = (), step: float = 2.0, **facts: object) -> list[InstanceEvidence]:
    return [instance(n + 1, step * n, **facts) for n in range(count) if n not in set(without)]  # type: ignore[arg-type]


def settings(**changes: object) -> StudySettings:
    return StudySettings(**changes)  # type: ignore[arg-type]


def judged(
    instances: Iterable[InstanceEvidence], *, age_s: float = 0.0, open_for: tuple[float, ...] = (), **more: object
) -> Decision:
    chosen = more.pop("settings", None) or settings()
    associations = tuple(OpenAssociation(f"a{n}", age) for n, age in enumerate(open_for))
    return decide(StudyEvidence(tuple(instances), associations, age_s, chosen, **more))  # type: ignore[arg-type]


def said(decision: Decision, judge: str) -> Finding:
    return next(f for f in decision.findings if f.judge == judge)


def real(folder: Path) -> list[InstanceEvidence]:
    """Facts of every DICOM file of a folder, read as the receiver reads them and stored as the index stores them."""
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "DIRFILE"):
        data = path.read_bytes()
        if data[128:132] != b"DICM":
            continue
        meta = pydicom.filereader.read_file_meta_info(path)
        start = 132 + 12 + meta.FileMetaInformationGroupLength
        uids, facts, _ = read_facts(data[start:], meta.TransferSyntaxUID)
        found.append(InstanceEvidence(uids.series, uids.sop, uids.sop_class, json.loads(facts.to_json())))
    return found
