"""People are told each thing once, also when the agent ends and starts again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from agent.config import Settings
from agent.store.notices import read_waiting
from agent.study import StudyStatus
from tests.path.notification_receiver import Webhook
from tests.study.agents import Agent, made_study, running, settings_for, wait_until


def telling(tmp_path: Path, hook: Webhook) -> Settings:
    return settings_for(tmp_path, qc={"gate": False}, notify=[{"url": hook.url, "on": ["qc_passed"]}])


def nothing_waits(agent: Agent) -> bool:
    return not agent.read(lambda: read_waiting(0))


def passed(agent: Agent, folder: Path) -> str:
    uid, paths = made_study(folder)
    assert agent.send(*paths).ok
    return str(agent.wait_for(uid, StudyStatus.QC_PASSED).id)


def test_what_was_told_is_not_told_again_after_a_restart(tmp_path: Path) -> None:
    with Webhook() as hook:
        settings = telling(tmp_path, hook)
        with running(settings) as agent:
            first = passed(agent, tmp_path / "files")
            wait_until(lambda: hook.bodies and nothing_waits(agent), "the first is told")
        with running(settings) as agent:
            second = passed(agent, tmp_path / "more")
            wait_until(lambda: len(hook.bodies) > 1 and nothing_waits(agent), "the second is told")
        texts = [json.loads(body)["message"] for body in hook.bodies]
        assert [first in texts[0], second in texts[1], len(texts)] == [True, True, 2]


def test_what_was_not_told_when_the_agent_ended_is_told_once_after_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Webhook() as hook:
        settings = telling(tmp_path, hook)
        monkeypatch.setattr("agent.actors.notifier.Notifier._send", lambda *_: None)  # it ends before it tells
        with running(settings) as agent:
            study_id = passed(agent, tmp_path / "files")
        assert not hook.bodies
        monkeypatch.undo()
        for _ in range(2):
            with running(settings) as agent:
                wait_until(lambda: hook.bodies and nothing_waits(agent), "it is told")
        assert len(hook.bodies) == 1
        assert study_id in json.loads(hook.bodies[0])["message"]
