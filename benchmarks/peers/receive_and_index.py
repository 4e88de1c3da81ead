"""Our receive path with keys, segments and index, without actors and web: the floor of ``agent serve``."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import threading
from collections.abc import Sequence

from agent.config import Settings, load_settings
from agent.dicom.intake import read_header_facts
from agent.dicom.receiver_pool import (
    AssociationClosed,
    AssociationOpened,
    AssociationRefused,
    ReceiverPool,
    Refusal,
)
from agent.store.database import open_database
from agent.store.keys import Keyring, StudyKey, StudyKeys
from agent.store.migrations import migrate
from agent.store.segments import StoredRecord
from agent.store.studies import IndexFacts, IndexRow, index_records
from agent.store.writer import Writer


class Engine:
    """Keys and index; nothing else is done with what arrives."""

    def __init__(self, settings: Settings) -> None:
        self._keyring = Keyring.open(settings, create=True)
        migrate(open_database(settings.data_dir, self._keyring, create=True))
        self._writer = Writer(settings.data_dir, self._keyring)
        self._writer.start()
        self._keys = StudyKeys(self._writer, self._keyring)

    def study_key(self, study_uid: str) -> StudyKey:
        return self._keys.for_study(study_uid)

    def arrived(self, records: Sequence[StoredRecord]) -> None:
        rows = [self._row(record) for record in records]
        self._writer.run(lambda: index_records(rows))

    def _row(self, record: StoredRecord) -> IndexRow:
        facts, identifiers = read_header_facts(record.header.facts_json)
        return IndexRow(
            record,
            self._keyring.study_id(record.header.study_uid),
            "BENCH",
            self._keyring.seal(identifiers.to_json().encode(), "bench"),
            description_identifies=False,
            facts=IndexFacts(
                facts.study_date or "", facts.study_time or "", facts.study_description or "", facts.modality or "",
                str(facts.series_number or ""), facts.series_description or "",
            ),
        )  # fmt: skip

    def association_opened(self, a: AssociationOpened) -> None:
        pass

    def association_closed(self, a: AssociationClosed) -> None:
        pass

    def association_refused(self, a: AssociationRefused) -> None:
        pass

    def receiver_lost(self, receiver: str, open_associations: Sequence[str]) -> None:
        pass

    def is_accepting(self) -> Refusal | None:
        return None

    def stop(self) -> None:
        self._writer.stop(10)


def main() -> None:
    """Receive until terminated."""
    settings = load_settings()
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["agent.dicom.receiver"])
    engine = Engine(settings)
    pool = ReceiverPool(settings, settings.data_dir / "segments", context, engine)
    pool.start()
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    stopping.wait()
    pool.stop(8)
    engine.stop()


if __name__ == "__main__":
    sys.exit(main())
