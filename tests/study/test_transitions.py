"""The status machine under any sequence of triggers, in the table and in the store."""

from __future__ import annotations

from pathlib import Path

import pytest
from agent.errors import IllegalTransition
from agent.store.studies import StaleTransition, Transition, read_study, record_transition
from agent.study import TRANSITIONS, StudyStatus, Trigger, next_status, starts_revision, transition_diagram
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.study.agents import made_study, running, settings_for

DOCS = Path(__file__).parents[2] / "docs"


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(list(Trigger)), max_size=40))
def test_any_triggers_lead_only_to_statuses_of_the_table_and_revisions_only_grow(triggers: list[Trigger]) -> None:
    status, revision = StudyStatus.RECEIVING, 1
    for trigger in triggers:
        if (status, trigger) not in TRANSITIONS:
            with pytest.raises(IllegalTransition):
                next_status(status, trigger)
            continue
        after = next_status(status, trigger)
        assert after in StudyStatus
        grown = revision + starts_revision(status, trigger)
        assert grown >= revision
        status, revision = after, grown


def test_any_triggers_leave_a_legal_row_with_a_complete_history(tmp_path: Path) -> None:
    with running(settings_for(tmp_path, study={"quiet_s": 600, "max_wait_s": 600})) as agent:
        uid, paths = made_study(tmp_path / "files", images=2)
        agent.send(*paths)
        agent.wait_for(uid, StudyStatus.UNSTABLE)
        study_id = agent.engine.around.keyring.study_id(uid)
        writer = agent.engine.around.writer

        @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(st.sampled_from(list(Trigger)), min_size=1, max_size=15))
        def step_through(triggers: list[Trigger]) -> None:
            for trigger in triggers:
                before = writer.run(lambda: read_study(study_id))
                steps = len(agent.history(uid))
                move = Transition(study_id, trigger, "test", before.status, before.revision)
                stale = Transition(study_id, trigger, "test", before.status, before.revision + 1)
                if (before.status, trigger) not in TRANSITIONS:
                    with pytest.raises(IllegalTransition):
                        writer.run(lambda m=move: record_transition(m, 1.0))
                    continue
                with pytest.raises(StaleTransition):
                    writer.run(lambda m=stale: record_transition(m, 1.0))
                after = writer.run(lambda m=move: record_transition(m, 1.0))
                assert after.status is TRANSITIONS[before.status, trigger]
                assert after.revision - before.revision in (0, 1)
                assert len(agent.history(uid)) == steps + 1

        agent.engine.around.post.stop("registry")
        step_through()


def test_the_documented_diagram_is_the_table() -> None:
    page = (DOCS / "life-of-a-study.md").read_text(encoding="utf-8")
    assert f"```mermaid\n{transition_diagram()}\n```" in page
