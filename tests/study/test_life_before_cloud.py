"""A study from its first image to quality control, with real receivers, workers and store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from agent.store import reports
from agent.study import StudyStatus
from tests.dicom_files import make_image, write_series
from tests.study.agents import Agent, made_study, running, settings_for, wait_until

JUDGED = (StudyStatus.QC_PASSED, StudyStatus.FAILED)


def reviewed(agent: Agent, uid: str) -> bool:
    row = agent.study(uid)
    return row is not None and (row.status in JUDGED or row.needs_review)


def test_a_study_that_arrives_becomes_stable_with_its_evidence_and_is_judged(tmp_path: Path) -> None:
    with running(settings_for(tmp_path)) as agent:
        uid, paths = made_study(tmp_path / "files")
        assert agent.send(*paths).ok
        wait_until(lambda: reviewed(agent, uid), "a verdict")
        lines = agent.history(uid)
        assert [line.to_status for line in lines][:3] == ["receiving", "unstable", "stable"]
        evidence = json.loads(next(line for line in lines if line.to_status == "stable").detail_json)
        assert evidence["instances"] == 6
        assert {f["judge"] for f in evidence["findings"]}
        row = agent.study(uid)
        assert row.qc_done == row.qc_total == 6
        report = agent.read(lambda: reports.read_qc_report(row.id, row.revision))
        assert report.verdict == row.qc_verdict


def test_a_late_image_reopens_the_study_as_a_new_revision(tmp_path: Path) -> None:
    with running(settings_for(tmp_path, qc={"gate": False})) as agent:
        uid, paths = made_study(tmp_path / "files")
        assert agent.send(*paths).ok
        agent.wait_for(uid, StudyStatus.QC_PASSED, revision=1)
        late = make_image(study_uid=uid, series_uid=None, number=7)
        assert agent.send(*write_series(tmp_path / "late", [late])).ok
        row = agent.wait_for(uid, StudyStatus.QC_PASSED, revision=2)
        assert row.instances_received == 7
        triggers = [line.trigger for line in agent.history(uid)]
        assert triggers.count("instance_arrived") == 2


def test_a_duplicate_changes_nothing(tmp_path: Path) -> None:
    with running(settings_for(tmp_path, qc={"gate": False})) as agent:
        uid, paths = made_study(tmp_path / "files")
        agent.send(*paths)
        agent.wait_for(uid, StudyStatus.QC_PASSED)
        before = agent.history(uid)
        assert agent.send(*paths).ok
        other, more = made_study(tmp_path / "files", images=2)
        agent.send(*more)
        agent.wait_for(other, StudyStatus.QC_PASSED)
        assert agent.history(uid) == before


def test_a_gap_holds_the_study_until_it_is_forced_with_a_reason(tmp_path: Path) -> None:
    with running(settings_for(tmp_path, study={"max_wait_s": 600}, qc={"gate": False})) as agent:
        uid, paths = made_study(tmp_path / "files", images=12)
        assert agent.send(*paths[:5], *paths[8:]).ok
        row = agent.wait_for(uid, StudyStatus.UNSTABLE)
        row = wait_until(
            lambda: (r := agent.study(uid)) and "not_met" in r.completeness_json and r, "a judge that objects"
        )
        assert row.instances_expected == 12
        assert agent.command(uid, "force-stable", reason="") == "refused: This command needs a reason."
        assert agent.command(uid, "force-stable", role="viewer").startswith("refused")
        assert agent.command(uid, "force-stable").startswith("done")
        agent.wait_for(uid, StudyStatus.QC_PASSED)
        forced = next(line for line in agent.history(uid) if line.trigger == "forced_stable")
        assert (forced.by, json.loads(forced.detail_json)["reason"]) == ("tester", "because")


def test_after_the_longest_wait_a_study_with_a_gap_goes_on_as_incomplete(tmp_path: Path) -> None:
    with running(settings_for(tmp_path, study={"max_wait_s": 1}, qc={"gate": False})) as agent:
        uid, paths = made_study(tmp_path / "files", images=12)
        agent.send(*paths[:5], *paths[8:])
        row = agent.wait_for(uid, StudyStatus.QC_PASSED)
        assert row.incomplete


def test_a_held_study_rests_at_stable_until_it_is_released(tmp_path: Path) -> None:
    with running(settings_for(tmp_path, study={"max_wait_s": 600}, qc={"gate": False})) as agent:
        uid, paths = made_study(tmp_path / "files", images=12)
        agent.send(*paths[:5], *paths[8:])
        agent.wait_for(uid, StudyStatus.UNSTABLE)
        assert agent.command(uid, "hold").startswith("done")
        assert agent.command(uid, "force-stable").startswith("done")
        other, more = made_study(tmp_path / "files", images=2)
        agent.send(*more)
        agent.wait_for(other, StudyStatus.QC_PASSED)
        held = agent.study(uid)
        assert (held.status, held.held, held.qc_verdict) == (StudyStatus.STABLE, True, None)
        assert agent.command(uid, "release").startswith("done")
        agent.wait_for(uid, StudyStatus.QC_PASSED)


def test_reprocess_and_delete(tmp_path: Path) -> None:
    with running(settings_for(tmp_path, qc={"gate": False})) as agent:
        uid, paths = made_study(tmp_path / "files")
        agent.send(*paths)
        agent.wait_for(uid, StudyStatus.QC_PASSED, revision=1)
        assert agent.command(uid, "reprocess").startswith("done")
        agent.wait_for(uid, StudyStatus.QC_PASSED, revision=2)
        assert agent.command(uid, "delete") == "done: Deleted."
        gone = agent.study(uid)
        assert gone.deleted
        assert gone.instances_received == 0
        assert agent.command(uid, "reprocess").startswith("refused")
        assert agent.send(*paths).ok
        back = agent.wait_for(uid, StudyStatus.QC_PASSED, revision=3)
        assert not back.deleted
        assert back.instances_received == len(paths)


@pytest.mark.parametrize("verb", ["retry", "override"])
def test_a_study_that_fails_quality_control_can_be_retried_and_overridden(tmp_path: Path, verb: str) -> None:
    with running(settings_for(tmp_path)) as agent:
        ds = [make_image(number=n, shape=(8, 8), seed=1) for n in range(2)]
        for d in ds:
            d.StudyInstanceUID, d.SeriesInstanceUID = ds[0].StudyInstanceUID, ds[0].SeriesInstanceUID
        uid = str(ds[0].StudyInstanceUID)
        agent.send(*write_series(tmp_path / "bad", ds))
        wait_until(lambda: reviewed(agent, uid), "a verdict")
        row = agent.study(uid)
        if row.status is not StudyStatus.FAILED and verb == "retry":
            assert agent.command(uid, "reject").startswith("done")
        assert agent.command(uid, verb).startswith("done")
        wait_until(lambda: reviewed(agent, uid), "another verdict")
        if verb == "override":
            assert agent.study(uid).status is StudyStatus.QC_PASSED
