"""Indexing: counts, versions, duplicates, and that nothing is counted twice."""

from __future__ import annotations

import hashlib
import itertools
import os

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.store.database import change, query
from agent.store.studies import (
    Transition,
    due_studies,
    read_instances,
    read_series,
    read_study,
    record_transition,
    resolve,
    unfinished_studies,
)
from agent.study import StudyStatus, Trigger
from tests.store.installation import Installation, header_of

RUNS = itertools.count(100)


def test_arrivals_make_study_series_and_instances(store: Installation) -> None:
    store.receive("1.2.3", 5)
    study = read_study(resolve("1.2.3"))
    assert study is not None
    assert study.status is StudyStatus.RECEIVING
    assert (study.instances_received, study.series_received, study.modality) == (5, 1, "MR")
    assert (study.study_date, study.description, study.patient, study.source_aet) == (
        "20260102",
        "Brain",
        "ANON1",
        "MODALITY",
    )
    assert [series.instances_received for series in read_series(study.id)] == [5]
    instances = read_instances(study.id)
    assert [i.facts for i in instances] == [{"rows": n} for n in range(5)]
    assert resolve(study.id) == study.id
    assert query("SELECT to_status, trigger FROM history") == [("receiving", "instance_arrived")]
    assert unfinished_studies() == [study.id]


def test_identifiers_stand_nowhere_in_clear_in_the_rows(store: Installation) -> None:
    store.receive("1.2.3", 2)
    for (name,) in query("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"):
        assert "MARKED" not in repr(query(f"SELECT * FROM {name}"))
    study = read_study(resolve("1.2.3"))
    assert study is not None
    assert study.identifiers is not None
    assert store.keyring.unseal(study.identifiers, f"study:{study.id}") == b"{}"


def test_a_record_is_indexed_once_however_often_it_is_told(store: Installation) -> None:
    records = store.receive("1.2.3", 4)
    assert store.index(*records).studies == {}
    assert store.index(*records, *records).studies == {}
    study = read_study(resolve("1.2.3"))
    assert study is not None
    assert study.instances_received == 4


def test_the_same_bytes_again_are_a_duplicate_and_other_bytes_a_version(store: Installation) -> None:
    segment = store.segment_writer()
    key = store.keys.for_study("1.2.3")
    first, again, other, other_again = (
        segment.append(key, header_of("1.2.3", 1), [body]) for body in (b"one", b"one", b"two", b"two")
    )
    study_id = store.keyring.study_id("1.2.3")
    arrivals = store.index(first, again).studies[study_id]
    assert (arrivals.new, arrivals.duplicates, arrivals.conflicts) == (1, 1, 0)
    arrivals = store.index(other, other_again).studies[study_id]
    assert (arrivals.new, arrivals.duplicates, arrivals.conflicts) == (0, 1, 1)
    assert store.index(first, again, other, other_again).studies == {}
    study = read_study(study_id)
    assert study is not None
    assert study.conflict
    assert study.instances_received == 1
    assert [(i.version, i.active) for i in read_instances(study_id, active_only=False)] == [(1, True), (2, False)]
    segment.close()


def test_one_batch_may_hold_many_studies(store: Installation) -> None:
    segment = store.segment_writer()
    records = [
        segment.append(store.keys.for_study(f"1.2.{n % 7}"), header_of(f"1.2.{n % 7}", n), [os.urandom(50)])
        for n in range(70)
    ]
    segment.close()
    outcome = store.index(*records)
    assert len(outcome.studies) == 7
    assert all(arrivals.new == 10 for arrivals in outcome.studies.values())


def test_arrival_at_a_deleted_study_is_told(store: Installation) -> None:
    store.receive("1.2.3", 1)
    study_id = resolve("1.2.3")
    deleted = Transition(study_id, Trigger.DELETED, "agent", StudyStatus.RECEIVING, 1, flags={"deleted": True})
    store.writer.run(lambda: record_transition(deleted, 2000.0))
    segment = store.segment_writer()
    record = segment.append(store.keys.for_study("1.2.3"), header_of("1.2.3", 9), [b"late"])
    segment.close()
    assert store.index(record).studies[study_id].deleted_returned
    study = read_study(study_id)
    assert study is not None
    assert study.deleted  # reviving it is a transition


def test_a_late_image_belongs_to_the_revision_it_will_start(store: Installation) -> None:
    store.receive("1.2.3", 2)
    study_id = resolve("1.2.3")
    store.writer.run(
        lambda: record_transition(Transition(study_id, Trigger.FORCED_STABLE, "tech", StudyStatus.RECEIVING, 1), 2000.0)
    )
    store.receive("1.2.3", 1, start=5)
    assert [i.revision for i in read_instances(study_id)] == [1, 1, 2]
    assert len(read_instances(study_id, up_to_revision=1)) == 2


def test_a_key_whose_hand_out_was_not_committed_gets_its_study(store: Installation) -> None:
    records = store.receive("1.2.3", 1)
    key_id = records[0].key_id
    store.writer.run(lambda: change("UPDATE study_key SET study_id = NULL WHERE key_id = ?", (key_id,)))
    store.writer.run(lambda: change("DELETE FROM instance"))
    store.index(*records)
    assert query("SELECT study_id FROM study_key WHERE key_id = ?", (key_id,)) == [(resolve("1.2.3"),)]


def test_studies_whose_deadline_has_come_are_found(store: Installation) -> None:
    store.receive("1.2.3", 1)
    store.receive("1.2.4", 1)
    store.writer.run(lambda: change("UPDATE study SET deadline_at = 50 WHERE id = ?", (resolve("1.2.3"),)))
    store.writer.run(lambda: change("UPDATE study SET deadline_at = 70 WHERE id = ?", (resolve("1.2.4"),)))
    assert due_studies(60) == [resolve("1.2.3")]
    assert due_studies(70) == [resolve("1.2.3"), resolve("1.2.4")]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    arrivals=st.lists(st.tuples(st.integers(0, 4), st.sampled_from([b"a", b"b"])), min_size=1, max_size=25),
    cuts=st.lists(st.integers(0, 25), max_size=4),
)
def test_counts_do_not_depend_on_how_arrivals_are_cut_into_batches(store, arrivals, cuts) -> None:
    study_uid = f"1.2.{next(RUNS)}"
    segment = store.segment_writer()
    key = store.keys.for_study(study_uid)
    records = [segment.append(key, header_of(study_uid, n), [body]) for n, body in arrivals]
    segment.close()
    borders = [0, *sorted(min(cut, len(records)) for cut in cuts), len(records)]
    for start, end in zip(borders, borders[1:], strict=False):
        store.index(*records[start:end])
    store.index(*records)  # told again
    study = read_study(store.keyring.study_id(study_uid))
    distinct = {n for n, _ in arrivals}
    assert study.instances_received == len(distinct)
    versions = read_instances(study.id, active_only=False)
    assert {(int(i.sop_uid.rsplit(".", 1)[1]), i.sha256) for i in versions} == {
        (n, hashlib.sha256(body).hexdigest()) for n, body in arrivals
    }
    assert sum(i.active for i in versions) == len(distinct)
    assert study.conflict == (len(versions) > len(distinct))
    repeated = store.writer.run(lambda: query("SELECT count(*) FROM duplicate WHERE study_id = ?", (study.id,)))[0][0]
    assert repeated + len(versions) == len(records)
