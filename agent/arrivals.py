"""From what receivers report to rows and messages.

Job: hand out study keys, index arrivals, book associations, recover what a dead receiver left, say when to refuse.
Place: the engine's answer to ``dicom.receiver_pool``; called in the threads of that pool; writes through the writer,
then tells the registry. It must never tell an actor of an image that is not committed.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import asdict

from agent.actors.study.upload_plan import identifiers_context, known_values, pseudonym_keys
from agent.actors.surroundings import Surroundings
from agent.clock import pause
from agent.deid.pseudonyms import patient_pseudonym
from agent.deid.spellings import identifier_needles, name_needles
from agent.dicom.associations import AssociationClosed, AssociationOpened, AssociationRefused, Refusal
from agent.dicom.facts import HeaderFacts, PatientIdentifiers
from agent.dicom.intake import read_header_facts
from agent.errors import StorageError
from agent.logs import get_logger
from agent.messages import AssociationEnded, InstancesArrived
from agent.store import associations
from agent.store.associations import Peer, Traffic
from agent.store.keys import StudyKey
from agent.store.recovery import RecoveryReport, recover
from agent.store.segments import StoredRecord, has_room_for_associations
from agent.store.studies import IndexFacts, IndexOutcome, IndexRow, StudyArrivals, index_records

GATE_WAIT_S = 15.0
INDEX_AGAIN_S = 1.0
RELEASE_S = 0.1
RELEASE_TRIES = 300

log = get_logger("arrivals")


class Arrivals:
    """``ReceiverEvents`` of the engine.

    Parameters
    ----------
    around : Surroundings
        The store, the post, the book of traffic.
    """

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._pseudonyms = pseudonym_keys(around.settings, around.keyring)
        self._is_open = False
        self._was_full = False
        self._is_index_late = False
        self._pause = threading.Event()
        self._touched: set[str] | None = None

    def open_doors(self) -> None:
        """Let associations in from now on."""
        self._is_open = True

    def close_doors(self) -> None:
        """Refuse associations from now on."""
        self._is_open = False

    # -- keys and back-pressure -----------------------------------------------------------------------------------

    def study_key(self, study_uid: str) -> StudyKey:
        """Return the committed key of a study.

        Raises
        ------
        StorageError
            When the study is being deleted for too long, or no key could be committed.
        """
        if not self._around.gate.wait(self._around.keyring.study_id(study_uid), GATE_WAIT_S):
            raise StorageError("The study is being deleted.", code="study_deleting", hint="Send it again.")
        return self._around.study_keys.for_study(study_uid)

    def is_accepting(self) -> Refusal | None:
        """Return why new associations are refused just now, or None."""
        if not self._is_open:
            return Refusal("The agent is starting or stopping.")
        is_full = not has_room_for_associations(self._around.segments, self._around.settings.store)
        if is_full != self._was_full:
            self._was_full = is_full
            if is_full:
                self._around.alarm(
                    "disk_margin", "error", "The disk is nearly full; new associations are refused.",
                    "Free space, or set retention.delivered_days.",
                )  # fmt: skip
            else:
                self._around.clear("disk_margin")
        return Refusal("The disk of the agent is nearly full.") if is_full else None

    # -- instances ------------------------------------------------------------------------------------------------

    def arrived(self, records: Sequence[StoredRecord]) -> None:
        """Index records that are durable, then tell their studies."""
        rows = [self._row_of(record) for record in records]
        outcome = self._index(rows)
        for study_id, arrivals in outcome.studies.items():
            self._note_traffic(study_id, rows)
            if self._touched is not None:
                self._touched.add(study_id)
            self._tell(study_id, arrivals)

    def _index(self, rows: Sequence[IndexRow]) -> IndexOutcome:
        """Index rows, again and again while the database takes nothing; what follows from the receiver waits."""
        while True:
            try:
                outcome = self._around.writer.run(lambda: index_records(rows))
            except StorageError as error:
                if error.code == "store_stopped":
                    raise
                self._around.alarm("index", "error", "Received images cannot be indexed; they are safe.", error.message)
                self._is_index_late = True
                self._around.clock.wait(self._pause, INDEX_AGAIN_S)
                continue
            if self._is_index_late:
                self._is_index_late = False
                self._around.clear("index")
            return outcome

    def _note_traffic(self, study_id: str, rows: Sequence[IndexRow]) -> None:
        series: dict[str, set[str]] = {}
        for row in rows:
            if row.study_id == study_id:
                header = row.record.header
                series.setdefault(header.association_id, set()).add(header.series_uid)
        for association_id, uids in series.items():
            self._around.traffic.arrived(study_id, association_id, uids)

    def _tell(self, study_id: str, arrivals: StudyArrivals) -> None:
        message = InstancesArrived(arrivals.new, arrivals.duplicates, arrivals.conflicts)
        self._around.post.study(study_id, message)

    def _row_of(self, record: StoredRecord) -> IndexRow:
        header = record.header
        study_id = self._around.keyring.study_id(header.study_uid)
        facts, identifiers = read_header_facts(header.facts_json)
        return IndexRow(
            record=record,
            study_id=study_id,
            patient=patient_pseudonym(self._pseudonyms, identifiers.patient_id, identifiers.issuer, header.study_uid),
            identifiers_sealed=self._around.keyring.seal(identifiers.to_json().encode(), identifiers_context(study_id)),
            description_identifies=_identifies(facts, identifiers),
            facts=IndexFacts(
                study_date=facts.study_date or "",
                study_time=facts.study_time or "",
                study_description=facts.study_description or "",
                modality=facts.modality or "",
                series_number="" if facts.series_number is None else str(facts.series_number),
                series_description=facts.series_description or "",
            ),
        )

    # -- associations ---------------------------------------------------------------------------------------------

    def association_opened(self, a: AssociationOpened) -> None:
        """Book an association."""
        self._around.traffic.opened(a.id)
        contexts = json.dumps([asdict(context) for context in a.contexts], separators=(",", ":"))
        peer = Peer(a.calling_aet, a.called_aet, a.address)
        self._around.writer.run(lambda: associations.opened(a.id, peer, a.opened_at, contexts))

    def association_closed(self, a: AssociationClosed) -> None:
        """Book its end and let its studies look at themselves."""
        seen = Traffic(a.objects, a.refused_objects, a.bytes)
        self._around.writer.run(lambda: associations.closed(a.id, a.outcome, seen, a.closed_at, a.reason))
        self._end(a.id)

    def association_refused(self, a: AssociationRefused) -> None:
        """Book a refusal."""
        peer = Peer(a.calling_aet, a.called_aet, a.address)
        self._around.writer.submit(lambda: associations.refused(a.id, peer, a.reason, a.at))

    def _end(self, association_id: str) -> None:
        for study_id in self._around.traffic.closed(association_id):
            self._around.post.study(study_id, AssociationEnded())

    # -- recovery -------------------------------------------------------------------------------------------------

    def receiver_lost(self, receiver: str, open_associations: Sequence[str]) -> None:
        """Index what a dead receiver had made durable, then end its associations."""
        report = self.recover(receiver)
        for _ in range(RELEASE_TRIES):
            if not report.live:
                break
            pause(RELEASE_S)  # its pipe closed before the kernel let go of its segments
            report = self.recover(receiver)
        log.warning("receiver_recovered", receiver=receiver, found=report.found, torn=report.torn)
        at = self._around.clock.timestamp()
        for association_id in open_associations:
            self._around.writer.run(
                lambda a=association_id: associations.closed(a, "lost", Traffic(), at, "the receiver process ended")  # type: ignore[misc]
            )
            self._end(association_id)

    def recover_all(self) -> tuple[RecoveryReport, set[str]]:
        """Recover every segment, before actors live; the second value names the studies to tell later."""
        touched: set[str] = set()
        self._touched = touched
        report = self.recover()
        self._touched = None
        return report, touched

    def recover(self, only: str | None = None) -> RecoveryReport:
        """Index durable records that the index does not know; damage becomes an alarm."""
        report = self._around.read(
            lambda: recover(self._around.segments, self._around.keyring, only=only, on_records=self.arrived)
        )
        if report.damaged:
            self._around.alarm(
                "store_damage", "error", f"{report.damaged} places of the store cannot be read any more.",
                "Run `agent store verify`, and check the disk.",
            )  # fmt: skip
        return report


def _identifies(facts: HeaderFacts, identifiers: PatientIdentifiers) -> bool:
    """Say whether a description holds something of the patient."""
    text = f"{facts.study_description or ''} {facts.series_description or ''}".strip().lower().encode()
    if not text:
        return False
    known = known_values(json.loads(identifiers.to_json()))
    return any(
        needle.is_in_text(text)
        for value in known
        for needle in (name_needles(value) if "^" in value else identifier_needles(value))
    )
