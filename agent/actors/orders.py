"""One order on its way to the cloud: the thread's work, the ledger, the hooks.

Job: bind ``cloud.upload`` to the rows of an order and to de-identification in the worker pool. Place: run by
``uploader`` in its own threads. It must never send what de-identification did not hand back, and never keep anything
only in memory.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Mapping

from agent import metrics
from agent.actors.study.upload_plan import known_values, pseudonym_keys, read_identifiers
from agent.actors.surroundings import Surroundings
from agent.cloud.contract import Part, PartLedger
from agent.cloud.upload import (
    Halt,
    Order,
    OrderUpload,
    PlannedObject,
    SentObject,
    UploadHooks,
    UploadOutcome,
    UploadProgress,
)
from agent.deid.pseudonyms import new_uid
from agent.deid.spellings import identifier_needles, name_needles
from agent.deid.worker import DeidentifiedObject, DeidTask, deidentify_object
from agent.errors import CloudError, DeidError, IntegrityError
from agent.store import jobs, reports, studies
from agent.store.jobs import DeidActionRow, JobRow, LedgerObject, LedgerPart
from agent.store.objects import ObjectRef
from agent.store.studies import StudyRow

TELL_EVERY_S = 0.3
_RANDOM = re.compile(r"[0-9a-f]{64}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class StoredParts:
    """The parts of one object, as ``cloud.contract.PartLedger`` asks for them."""

    def __init__(self, around: Surroundings, job_id: str, number: int, known: LedgerObject | None) -> None:
        self._around, self._job_id, self._number = around, job_id, number
        self._upload_id = known.multipart_id if known else None
        self._parts = {p.number: Part(p.number, p.size_bytes, p.sha256, p.etag) for p in (known.parts if known else ())}

    def upload_id(self) -> str | None:
        """Return the multipart upload that was begun, if one was."""
        return self._upload_id

    def parts(self) -> list[Part]:
        """Return the parts confirmed for that upload."""
        return [self._parts[number] for number in sorted(self._parts)]

    def begin(self, upload_id: str) -> None:
        """Keep a new multipart upload; parts of an earlier one are forgotten."""
        self._around.write(lambda: jobs.start_multipart(self._job_id, self._number, upload_id))
        self._upload_id = upload_id
        self._parts.clear()

    def record(self, part: Part) -> None:
        """Keep a confirmed part."""
        row = LedgerPart(part.number, part.size_bytes, part.sha256, part.etag)
        self._around.write(lambda: jobs.record_part(self._job_id, self._number, row))
        self._parts[part.number] = part


class StoredLedger:
    """The ledger of one order in the store; every call returns after its commit."""

    def __init__(self, around: Surroundings, job_id: str) -> None:
        self._around, self._job_id = around, job_id
        self.objects = {o.number: o for o in around.read(lambda: jobs.read_ledger(job_id))}
        self._sent = {
            o.number: SentObject(o.number, o.instance_id, o.key, o.size_bytes or 0, o.sha256 or "", o.etag or "")
            for o in self.objects.values()
            if o.state == "sent"
        }
        self._excluded = {o.number: o.excluded_because or "" for o in self.objects.values() if o.state == "excluded"}
        self._lock = threading.Lock()

    def sent(self) -> Mapping[int, SentObject]:
        """Return the confirmed objects by number."""
        with self._lock:
            return dict(self._sent)

    def excluded(self) -> Mapping[int, str]:
        """Return the numbers that are not sent, with the reason."""
        with self._lock:
            return dict(self._excluded)

    def record_sent(self, sent: SentObject) -> None:
        """Keep a confirmed object."""
        self._around.write(
            lambda: jobs.mark_sent(
                self._job_id, sent.number, size_bytes=sent.size_bytes, sha256=sent.sha256, etag=sent.etag
            )
        )
        with self._lock:
            self._sent[sent.number] = sent

    def record_excluded(self, planned: PlannedObject, reason: str) -> None:
        """Keep that an object is not sent."""
        self._around.write(lambda: jobs.mark_excluded(self._job_id, planned.number, reason))
        with self._lock:
            self._excluded[planned.number] = reason

    def forget(self, number: int) -> None:
        """Drop a confirmed object that the cloud turned out not to have; the next record replaces its row."""
        with self._lock:
            self._sent.pop(number, None)

    def parts_of(self, planned: PlannedObject) -> PartLedger:
        """Return the ledger of the parts of one object."""
        return StoredParts(self._around, self._job_id, planned.number, self.objects.get(planned.number))


class OrderRun:
    """The upload of one job.

    Parameters
    ----------
    around : Surroundings
        What every actor is given.
    job : JobRow
        The claimed job.
    """

    def __init__(self, around: Surroundings, job: JobRow) -> None:
        if around.cloud is None or job.order_id is None:
            raise IntegrityError("An upload without a cloud or an order cannot run.", code="upload_job")
        self._around, self._job, self._cloud, self._order_id = around, job, around.cloud, job.order_id
        self._row = self._read_row()
        self._keys = pseudonym_keys(around.settings, around.keyring)
        self._known = known_values(read_identifiers(around.keyring, self._row))
        self._refs = self._read_refs()
        self._actions: Counter[tuple[str, str, str]] = Counter()
        self._lock = threading.Lock()
        self._told_at = float("-inf")

    def run(self, halt: Halt) -> UploadOutcome:
        """Upload what is not there yet.

        Raises
        ------
        AgentError
            What cannot be cured by waiting.
        """
        ledger = StoredLedger(self._around, self._job.id)
        qc = self._around.read(lambda: reports.read_qc_report(self._job.study_id, self._job.revision))
        order = Order(
            order=self._order_id,
            revision=self._job.revision,
            study_uid=new_uid(self._keys, self._row.study_uid),
            profile=qc.profile if qc else "",
            objects=tuple(PlannedObject(o.number, o.instance_id) for o in ledger.objects.values()),
        )
        hooks = UploadHooks(self._prepare, self._progress, self._problem, self._check_text)
        try:
            upload = OrderUpload(self._cloud, self._around.settings.cloud, hooks, self._around.clock)
            return upload.run(order, ledger, halt)
        finally:
            self._keep_actions()

    def _read_row(self) -> StudyRow:
        row = self._around.read(lambda: studies.read_study(self._job.study_id))
        if row is None:
            raise IntegrityError("The study of an upload is gone.", code="upload_study")
        return row

    def _read_refs(self) -> dict[int, ObjectRef]:
        rows = self._around.read(lambda: studies.read_instances(self._job.study_id, up_to_revision=self._job.revision))
        return {row.id: row.ref() for row in rows}

    # -- hooks, called from the threads of the connections --------------------------------------------------------

    def _prepare(self, planned: PlannedObject) -> DeidentifiedObject:
        ref = self._refs.get(planned.instance_id)
        if ref is None:
            raise IntegrityError("An object of the order is no longer stored.", code="upload_object")
        secrets = self._around.read(lambda: self._around.study_keys.secrets_for([ref.key_id]))
        task = DeidTask(
            self._around.segments, secrets, ref, self._keys, self._around.settings.deid.profile, self._known
        )
        try:
            done = self._around.pool.submit(deidentify_object, task).result()
        except DeidError:
            metrics.DEID_OBJECTS.labels("blocked").inc()
            raise
        metrics.DEID_OBJECTS.labels("excluded" if done.excluded_because else "cleaned").inc()
        with self._lock:
            for action in done.actions:
                self._actions[action.tag, action.keyword, action.action] += action.count
        return done

    def _progress(self, progress: UploadProgress) -> None:
        now = self._around.clock.monotonic()
        if progress.done_objects < progress.total_objects and now - self._told_at < TELL_EVERY_S:
            return
        self._told_at = now
        self._update(
            upload_done_objects=progress.done_objects,
            upload_total_objects=progress.total_objects,
            upload_done_bytes=progress.done_bytes,
        )

    def _problem(self, error: CloudError | None) -> None:
        if error is None:
            self._update(upload_problem="")
            self._around.clear("cloud")
        else:
            self._update(upload_problem=str(error))
            self._around.alarm("cloud", "error", error.message, error.hint)

    def _check_text(self, text: str) -> None:
        """Look for the study's identifiers in text that is about to leave; random numbers in it tell nothing."""
        folded = _RANDOM.sub("", text.lower()).encode()
        for value in self._known:
            for needle in name_needles(value) if "^" in value else identifier_needles(value):
                if needle.is_in_text(folded):
                    raise DeidError("The manifest holds an identifier; the order was not sent.", code="outbound_hit")

    def _update(self, **columns: object) -> None:
        self._around.writer.submit(lambda: studies.update_progress(self._job.study_id, self._job.revision, **columns))

    def _keep_actions(self) -> None:
        """Add what was done in this run to what earlier runs of the same revision did."""
        study_id, revision, actions = self._job.study_id, self._job.revision, self._actions

        def add() -> None:
            for row in jobs.read_deid_actions(study_id, revision):
                actions[row.tag, row.keyword, row.action] += row.count
            jobs.store_deid_actions(study_id, revision, [DeidActionRow(*key, n) for key, n in sorted(actions.items())])

        if actions:
            self._around.write(add)
