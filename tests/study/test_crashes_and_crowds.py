"""Actors that fail, many studies at once, retention, notifications, stop in order."""

from __future__ import annotations

import threading
from pathlib import Path

import pykka
import pytest
from agent.actors.house import House
from agent.actors.study.actor import StudyActor
from agent.store.reader.studies import StudyQuery, read_studies
from agent.study import StudyStatus
from tests.dicom_files import make_image, write_series
from tests.study.agents import made_study, running, settings_for, wait_until


@pytest.mark.parametrize(
    "kind", ["registry", "qc", "inbox", "notifier", "watcher", "uploader", "janitor", "supervisor"]
)
def test_an_actor_that_fails_is_started_again_and_the_study_goes_on(tmp_path: Path, kind: str) -> None:
    with running(settings_for(tmp_path, qc={"gate": False})) as agent:
        post = agent.engine.around.post
        wait_until(lambda: post.is_alive(kind), f"{kind} lives")
        uid, paths = made_study(tmp_path / "files")
        assert agent.send(*paths[:3]).ok
        getattr(post, kind)(object())  # no message of its union: the actor fails on it
        assert agent.send(*paths[3:]).ok
        wait_until(lambda: post.is_alive(kind), f"{kind} lives again")
        agent.wait_for(uid, StudyStatus.QC_PASSED)
        assert agent.command(uid, "hold").startswith("done")


def test_a_study_whose_actor_fails_three_times_becomes_failed_and_can_be_retried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = threading.Event()
    evaluate = StudyActor._evaluate

    def fail(self: StudyActor) -> None:
        if broken.is_set():
            raise RuntimeError("made for a test")
        evaluate(self)

    monkeypatch.setattr(StudyActor, "_evaluate", fail)
    broken.set()
    with running(settings_for(tmp_path, qc={"gate": False})) as agent:
        uid, paths = made_study(tmp_path / "files")
        assert agent.send(*paths).ok
        row = agent.wait_for(uid, StudyStatus.FAILED)
        assert (row.failed_step, row.failure_code) == ("internal", "internal")
        broken.clear()
        assert agent.command(uid, "retry").startswith("done")
        agent.wait_for(uid, StudyStatus.QC_PASSED)


def test_hundreds_of_small_studies_pass_through_a_few_live_actors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, cap = 120, 8
    alive: list[int] = []  # after each start, the only moment at which there can be more than before
    start = House._start_study

    def counted(self: House, study_id: str, life: int) -> object:
        ref = start(self, study_id, life)
        alive.append(len(pykka.ActorRegistry.get_by_class(StudyActor)))
        return ref

    monkeypatch.setattr(House, "_start_study", counted)
    settings = settings_for(tmp_path, study={"live_studies": cap}, qc={"gate": False, "on_arrival": False})
    with running(settings) as agent:
        files = write_series(tmp_path / "files", [make_image(shape=(16, 16), seed=n) for n in range(count)])
        assert agent.send(*files, associations=2).counts() == {"stored": count}
        wait_until(
            lambda: agent.read(lambda: read_studies(StudyQuery(status=("qc_passed",)))).total == count,
            "every study passed",
        )
    assert len(alive) >= count
    assert max(alive) <= cap


def test_a_delivered_study_is_deleted_only_after_its_time(tmp_path: Path) -> None:
    from agent.messages import CleanUp
    from agent.store.studies import Transition, record_transition
    from agent.study import Trigger

    settings = settings_for(tmp_path, qc={"gate": False}, retention={"delivered_days": 30})
    with running(settings) as agent:
        around = agent.engine.around
        uids = []
        for age_days in (40, 10):
            uid, paths = made_study(tmp_path / "files", images=2)
            uids.append(uid)
            agent.send(*paths)
            row = agent.wait_for(uid, StudyStatus.QC_PASSED)
            at = around.clock.timestamp() - age_days * 86_400
            for trigger in (Trigger.UPLOAD_STARTED, Trigger.UPLOAD_FINISHED, Trigger.REPORT_STORED):
                step = Transition(row.id, trigger, "test", row.status, row.revision)
                row = around.write(lambda s=step, t=at: record_transition(s, t))
        around.post.janitor(CleanUp())
        wait_until(lambda: agent.study(uids[0]).deleted, "the old one is deleted")
        assert not agent.study(uids[1]).deleted


def test_studies_that_are_kept_do_not_stand_in_the_way_of_the_clean_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agent.messages import CleanUp
    from agent.store.studies import Transition, record_transition
    from agent.study import Trigger

    monkeypatch.setattr("agent.actors.janitor.BATCH", 2)
    settings = settings_for(tmp_path, qc={"gate": False}, retention={"delivered_days": 1})
    with running(settings) as agent:
        around = agent.engine.around
        uids = []
        for age_days, flags in ((40, {"conflict": True}), (39, {"held": True}), (38, {"needs_review": True}), (9, {})):
            uid, paths = made_study(tmp_path / "files", images=2)
            uids.append(uid)
            agent.send(*paths)
            row = agent.wait_for(uid, StudyStatus.QC_PASSED)
            at = around.clock.timestamp() - age_days * 86_400
            for trigger in (Trigger.UPLOAD_STARTED, Trigger.UPLOAD_FINISHED, Trigger.REPORT_STORED):
                step = Transition(row.id, trigger, "test", row.status, row.revision, flags=flags)
                row = around.write(lambda s=step, t=at: record_transition(s, t))
        around.post.janitor(CleanUp())
        wait_until(lambda: agent.study(uids[-1]).deleted, "the youngest is deleted")
        assert not any(agent.study(uid).deleted for uid in uids[:-1])
