"""What an order consists of, and the way back that is kept with it.

Job: number the objects of a study and compute the mapping from pseudonyms to what they stand for, before anything
leaves. Place: called by the study's actor; the rows are written in the transaction that starts the upload. It must
never put an identifier into a row unsealed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from agent.actors.surroundings import Surroundings
from agent.cloud.package import instance_key, new_order
from agent.config import Settings
from agent.deid.mapping import PseudonymMapping, UidMapping, pseudonym_mapping, uid_mappings
from agent.deid.pseudonyms import PseudonymKeys
from agent.errors import IntegrityError
from agent.store import jobs
from agent.store.jobs import PlannedObject, ReplacedUid
from agent.store.keys import Keyring
from agent.store.studies import StudyRow, read_instances


def pseudonym_keys(settings: Settings, keyring: Keyring) -> PseudonymKeys:
    """Return what pseudonyms are made with."""
    return PseudonymKeys(keyring.pseudonym_key, keyring.pseudonym_version, settings.deid.prefix, settings.deid.dates)


def identifiers_context(study_id: str) -> str:
    """Return the context under which a study's identifiers are sealed."""
    return f"identifiers:{study_id}"


def read_identifiers(keyring: Keyring, row: StudyRow) -> dict[str, object]:
    """Return what identifies the patient of a study, as ``PatientIdentifiers.to_json`` wrote it.

    Raises
    ------
    IntegrityError
        When the sealed field was changed.
    """
    if row.identifiers is None:
        return {}
    identifiers: dict[str, object] = json.loads(keyring.unseal(row.identifiers, identifiers_context(row.id)))
    return identifiers


def known_values(identifiers: dict[str, object]) -> tuple[str, ...]:
    """Return every value, for the outbound check."""
    values: list[str] = []
    for value in identifiers.values():
        values += [str(v) for v in value] if isinstance(value, list) else [str(value)]
    return tuple(v for v in values if v)


@dataclass(frozen=True, slots=True)
class UploadPlan:
    """An order before it begins."""

    order_id: str
    study_id: str
    objects: int
    size_bytes: int
    keyring: Keyring = field(repr=False)
    planned: tuple[PlannedObject, ...] = field(repr=False)
    pseudonym: PseudonymMapping = field(repr=False)
    uids: tuple[UidMapping, ...] = field(repr=False)

    def record(self) -> None:
        """Write the ledger and the way back; in the transaction that creates the upload job."""
        job = next(j for j in jobs.living_jobs(self.study_id, "upload") if j.order_id == self.order_id)
        jobs.plan_objects(job.id, self.planned)
        jobs.store_pseudonym(
            self.keyring, self.pseudonym.pseudonym, self.pseudonym.patient_id, self.pseudonym.identifiers_json
        )
        replaced = [ReplacedUid(u.new_uid, u.kind, u.old_uid) for u in self.uids]
        jobs.store_uid_mappings(self.keyring, self.study_id, replaced)


def plan_upload(around: Surroundings, row: StudyRow) -> UploadPlan:
    """Plan the order of a study's present revision.

    Raises
    ------
    IntegrityError
        When the study has no instance, or its identifiers cannot be opened.
    """
    instances = around.read(lambda: read_instances(row.id, up_to_revision=row.revision))
    if not instances:
        raise IntegrityError("The study has no object to upload.", code="no_objects")
    keys = pseudonym_keys(around.settings, around.keyring)
    identifiers = read_identifiers(around.keyring, row)
    order_id = new_order()
    return UploadPlan(
        order_id=order_id,
        study_id=row.id,
        objects=len(instances),
        size_bytes=sum(i.size_bytes for i in instances),
        keyring=around.keyring,
        planned=tuple(PlannedObject(n, i.id, instance_key(order_id, n)) for n, i in enumerate(instances, 1)),
        pseudonym=pseudonym_mapping(
            keys, str(identifiers.get("patient_id", "")), str(identifiers.get("issuer", "")), row.study_uid,
            json.dumps(identifiers).encode(),
        ),
        uids=uid_mappings(keys, row.study_uid, {i.series_uid for i in instances}, {i.sop_uid for i in instances}),
    )  # fmt: skip
