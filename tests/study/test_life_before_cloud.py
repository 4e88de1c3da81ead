"""A study from its first image to quality control, with real receivers, workers and store."""

from __future__ import annotations

from pathlib import Path

from agent.study import StudyStatus
from tests.study.agents import made_study, running, settings_for

AFTER_STABLE = (StudyStatus.STABLE, StudyStatus.QC_PASSED, StudyStatus.FAILED)


def test_a_study_that_arrives_becomes_stable_with_its_evidence(tmp_path: Path) -> None:
    with running(settings_for(tmp_path)) as agent:
        uid, paths = made_study(tmp_path / "files")
        assert agent.send(*paths).ok
        agent.wait_for(uid, *AFTER_STABLE)
        lines = agent.history(uid)
        assert [line.to_status for line in lines][:3] == ["receiving", "unstable", "stable"]
        stable = next(line for line in lines if line.to_status == "stable")
        assert '"findings"' in stable.detail_json
        assert '"instances":6' in stable.detail_json
