"""Transitions: one step, one transaction, never from where the study no longer is."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent import metrics
from agent.errors import IllegalTransition, StorageError
from agent.store import audit, commands, jobs
from agent.store.database import change, query
from agent.store.studies import StaleTransition, Transition, read_study, record_transition, resolve, update_progress
from agent.study import TRANSITIONS, StudyStatus, Trigger, starts_revision
from tests.store.installation import Installation

S, T = StudyStatus, Trigger


def step(store: Installation, study_id: str, trigger: Trigger, **more):
    study = read_study(study_id)
    transition = Transition(study_id, trigger, more.pop("by", "agent"), study.status, study.revision, **more)
    return store.writer.run(lambda: record_transition(transition, more.get("at", 5000.0)))


@pytest.fixture
def study(store: Installation) -> str:
    store.receive("1.2.3", 2)
    return resolve("1.2.3")


def test_a_step_writes_status_history_job_command_and_audit_together(store: Installation, study: str) -> None:
    command = commands.insert_command(commands.NewCommand(study, "force-stable", "anna", "technologist", "in a hurry"))
    store.writer.run(commands.claim_requested)
    counted = metrics.TRANSITIONS.labels("stable")._value.get()
    row = step(
        store, study, T.FORCED_STABLE, by="anna", role="technologist", command_id=command, command_outcome="Stable now.",
        detail={"reason": "in a hurry"}, job=jobs.NewJob("qc", {"a": 1}), changes={"qc_total": 7, "deadline_at": None},
    )  # fmt: skip
    assert (row.status, row.revision, row.qc_total, row.status_at) == (S.STABLE, 1, 7, 5000.0)
    assert query("SELECT from_status, to_status, trigger, by, revision FROM history ORDER BY seq DESC LIMIT 1") == [
        ("receiving", "stable", "forced_stable", "anna", 1)
    ]
    assert [(job.kind, job.revision, job.body) for job in jobs.living_jobs(study)] == [("qc", 1, {"a": 1})]
    finished = commands.read_command(command)
    assert finished is not None
    assert (finished.state, finished.outcome) == ("done", "Stable now.")
    entries = list(audit.rows(object=study))
    assert [entry.action for entry in entries] == ["command", "study_transition"]
    assert entries[1].detail["reason"] == "in a hurry"
    assert metrics.TRANSITIONS.labels("stable")._value.get() == counted + 1


def test_a_step_from_where_the_study_no_longer_is_changes_nothing(store: Installation, study: str) -> None:
    stale = Transition(study, T.FORCED_STABLE, "agent", S.RECEIVING, 1, job=jobs.NewJob("qc"))
    store.writer.run(lambda: record_transition(stale, 1.0))
    before = (
        query("SELECT count(*) FROM history"),
        query("SELECT count(*) FROM job"),
        query("SELECT count(*) FROM audit"),
    )
    for transition in (
        stale,
        Transition(study, T.QC_PASS, "agent", S.STABLE, 2),
        Transition("none", T.QC_PASS, "a", S.STABLE, 1),
    ):
        with pytest.raises(StaleTransition):
            store.writer.run(lambda t=transition: record_transition(t, 1.0))
    with pytest.raises(IllegalTransition):
        store.writer.run(lambda: record_transition(Transition(study, T.REPORT_STORED, "agent", S.STABLE, 1), 1.0))
    after = (
        query("SELECT count(*) FROM history"),
        query("SELECT count(*) FROM job"),
        query("SELECT count(*) FROM audit"),
    )
    assert after == before


def test_a_late_image_starts_a_revision_and_cancels_the_work_of_the_older_one(store: Installation, study: str) -> None:
    step(store, study, T.FORCED_STABLE, job=jobs.NewJob("qc"))
    row = step(
        store,
        study,
        T.QC_PASS,
        changes={"qc_verdict": "pass", "qc_score": 91.0, "order_id": "o1"},
        job=jobs.NewJob("upload"),
    )
    assert row.qc_score == 91.0
    row = step(store, study, T.INSTANCE_ARRIVED)
    assert (row.status, row.revision, row.qc_verdict, row.order_id) == (S.UNSTABLE, 2, None, None)
    assert jobs.living_jobs(study) == []
    assert {state for (state,) in query("SELECT state FROM job")} == {"cancelled"}


def test_what_a_failure_left_is_gone_once_it_is_over(store: Installation, study: str) -> None:
    step(store, study, T.FORCED_STABLE)
    row = step(
        store,
        study,
        T.QC_FAIL,
        changes={"failed_step": "qc", "failure_code": "qc_failed", "failure_text": "Too noisy."},
    )
    assert (row.failed_step, row.failure_text) == ("qc", "Too noisy.")
    row = step(store, study, T.OVERRIDDEN)
    assert (row.failed_step, row.failure_code, row.failure_text) == (None, None, None)


def test_only_flags_and_plain_columns_can_be_set(store: Installation, study: str) -> None:
    for wrong in ({"changes": {"status": "delivered"}}, {"changes": {"revision": 9}}, {"flags": {"status": True}}):
        with pytest.raises(StorageError):
            step(store, study, T.HELD, **wrong)
    with pytest.raises(StorageError):
        store.writer.run(lambda: update_progress(study, 1, held=True))


def test_progress_of_an_older_revision_is_dropped(store: Installation, study: str) -> None:
    store.writer.run(lambda: update_progress(study, 1, qc_done=3))
    store.writer.run(lambda: update_progress(study, 2, qc_done=9))
    row = read_study(study)
    assert row is not None
    assert row.qc_done == 3


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(triggers=st.lists(st.sampled_from(list(Trigger)), min_size=1, max_size=15))
def test_rows_follow_the_table_whatever_happens(store: Installation, triggers: list[Trigger]) -> None:
    if not query("SELECT 1 FROM study"):
        store.receive("1.2.3", 1)
    study_id = resolve("1.2.3")
    store.writer.run(lambda: change("UPDATE study SET status = 'receiving', revision = 1"))
    status, revision = S.RECEIVING, 1
    for trigger in triggers:
        if (status, trigger) not in TRANSITIONS:
            with pytest.raises(IllegalTransition):
                step(store, study_id, trigger)
            continue
        revision += starts_revision(status, trigger)
        status = TRANSITIONS[status, trigger]
        row = step(store, study_id, trigger)
        assert (row.status, row.revision) == (status, revision)
    assert store.writer.run(audit.verify).is_intact
