"""Images that come after a study is at rest, also when the engine ends at the worst moment."""

from __future__ import annotations

from pathlib import Path

import pytest
from agent.messages import CleanUp, RetentionOver
from agent.store import alarms
from agent.store.database import query
from agent.store.studies import Transition, record_transition
from agent.study import StudyStatus, Trigger
from tests.dicom_files import make_image, write_series
from tests.study.agents import Agent, made_study, running, settings_for, wait_until


def delivered(agent: Agent, folder: Path, days_ago: float = 0) -> str:
    """A study that is delivered, without the cloud it takes."""
    uid, paths = made_study(folder)
    assert agent.send(*paths).ok
    row = agent.wait_for(uid, StudyStatus.QC_PASSED)
    around = agent.engine.around
    assert around is not None
    at = around.clock.timestamp() - days_ago * 86_400
    for trigger in (Trigger.UPLOAD_STARTED, Trigger.UPLOAD_FINISHED, Trigger.REPORT_STORED):
        step = Transition(row.id, trigger, "test", row.status, row.revision)
        row = around.write(lambda s=step: record_transition(s, at))
    return uid


def late_image(folder: Path, study_uid: str) -> Path:
    return write_series(folder / "late", [make_image(study_uid=study_uid, number=9)])[0]


def open_alarms() -> list[str]:
    return [alarm.code for alarm in alarms.read_open()]


def test_a_late_image_that_the_engine_had_indexed_before_it_ended_is_handled_after_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(tmp_path, qc={"gate": False})
    with running(settings) as agent:
        uid = delivered(agent, tmp_path / "files")
        for told in ("_tell", "_end"):  # the engine ends between commit and message
            monkeypatch.setattr(f"agent.arrivals.Arrivals.{told}", lambda *_: None)
        assert agent.send(late_image(tmp_path, uid)).ok
        wait_until(lambda: agent.study(uid).instances_received == 7, "the image is indexed")
        assert agent.study(uid).status is StudyStatus.DELIVERED
    monkeypatch.undo()
    with running(settings) as agent:
        row = agent.wait_for(uid, StudyStatus.QC_PASSED, revision=2)
        assert row.qc_total == 7
        spare = agent.read(lambda: query("SELECT count(*) FROM study_key WHERE study_id IS NULL"))[0][0]
        assert spare <= 32  # keys that the first run had kept ahead are gone


def test_a_site_may_keep_late_images_of_a_delivered_study_aside(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, qc={"gate": False}, study={"late_arrivals": "keep_aside"})
    with running(settings) as agent:
        uid = delivered(agent, tmp_path / "files")
        assert agent.send(late_image(tmp_path, uid)).ok
        wait_until(lambda: "late_images_kept" in agent.read(open_alarms), "somebody is told")
        wait_until(lambda: agent.study(uid).needs_review, "the study is flagged")
    with running(settings) as agent:
        row = agent.study(uid)
        assert (row.status, row.revision, row.instances_received, row.qc_total) == (StudyStatus.DELIVERED, 1, 7, 6)
        assert agent.command(uid, "reprocess").startswith("done")
        row = agent.wait_for(uid, StudyStatus.QC_PASSED, revision=2)
        assert (row.qc_total, row.needs_review) == (7, False)
        assert [line.trigger for line in agent.history(uid)].count("kept_aside") == 1


def test_retention_never_deletes_images_that_were_kept_aside(tmp_path: Path) -> None:
    late = {"late_arrivals": "keep_aside"}
    settings = settings_for(tmp_path, qc={"gate": False}, study=late, retention={"delivered_days": 1})
    with running(settings) as agent:
        uid, other = (delivered(agent, tmp_path / "files", days_ago=9) for _ in range(2))
        assert agent.send(late_image(tmp_path, uid)).ok
        wait_until(lambda: "late_images_kept" in agent.read(open_alarms), "somebody is told")
        around = agent.engine.around
        around.post.janitor(CleanUp())
        around.post.study(agent.study(uid).id, RetentionOver())
        wait_until(lambda: agent.study(other).deleted, "the study without late images is deleted")
        row = agent.study(uid)
        assert (row.deleted, row.instances_received, row.needs_review) == (False, 7, True)


def test_a_site_may_hold_incomplete_studies_for_a_person_and_the_missing_images_free_them(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, qc={"gate": False}, study={"max_wait_s": 1, "incomplete": "hold"})
    with running(settings) as agent:
        uid, paths = made_study(tmp_path / "files", images=12)
        assert agent.send(*paths[:5], *paths[8:]).ok
        row = wait_until(lambda: (r := agent.study(uid)) and r.held and r, "the study is held")
        assert (row.status, row.incomplete, row.deadline_at) == (StudyStatus.UNSTABLE, True, None)
    with running(settings) as agent:
        assert agent.study(uid).held
        assert agent.send(*paths[5:8]).ok
        row = agent.wait_for(uid, StudyStatus.QC_PASSED)
        assert (row.held, row.incomplete, row.revision) == (False, False, 1)


def test_a_held_incomplete_study_goes_on_when_a_person_forces_it(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, qc={"gate": False}, study={"max_wait_s": 1, "incomplete": "hold"})
    with running(settings) as agent:
        uid, paths = made_study(tmp_path / "files", images=12)
        assert agent.send(*paths[:5], *paths[8:]).ok
        wait_until(lambda: (r := agent.study(uid)) and r.held, "the study is held")
        assert agent.command(uid, "force-stable").startswith("done")
        row = agent.wait_for(uid, StudyStatus.QC_PASSED)
        assert (row.held, row.incomplete) == (False, True)
