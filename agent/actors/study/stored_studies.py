"""What the registry reads and writes of the store.

Job: due and unfinished studies, and giving up on one whose actor keeps failing. Place: handed to ``registry`` by
``house``. It must never touch a study that another transition has moved meanwhile.
"""

from __future__ import annotations

from agent.actors.study import news, steps
from agent.actors.surroundings import Surroundings
from agent.errors import IllegalTransition
from agent.messages import StudyReached
from agent.store import commands, studies
from agent.store.reader.study import read_commands
from agent.store.studies import StudyRow, Transition
from agent.study import FailedStep, Trigger

TEXT = "The agent could not handle this study; the log has the cause."


class StoredStudies:
    """The registry's view of the rows.

    Parameters
    ----------
    around : Surroundings
        What every actor is given.
    """

    def __init__(self, around: Surroundings) -> None:
        self._around = around

    def due(self) -> list[str]:
        """Return the studies whose deadline has come."""
        return self._around.read(lambda: studies.due_studies(self._around.clock.timestamp()))

    def unfinished(self) -> list[str]:
        """Return the studies that have something left to do."""
        return self._around.read(studies.unfinished_studies)

    def give_up(self, study_id: str) -> None:
        """Make a study Failed (internal), and answer the commands it had not answered."""
        at = self._around.clock.timestamp()
        try:
            row = self._around.write(lambda: self._record(study_id, at))
        except IllegalTransition:  # Failed or Delivered already
            row = None
            self._around.alarm("study_crashes", "error", "A study that is at rest makes its actor fail.", TEXT)
        if row is not None:
            self._around.post.notifier(StudyReached(study_id, row.revision, row.status, row.status_at, TEXT))
        for command in self._around.read(lambda: read_commands(study_id)):
            if command.state == "claimed":
                self._around.write(lambda c=command.id: commands.finish(c, TEXT, done=False, at=at))  # type: ignore[misc]

    def _record(self, study_id: str, at: float) -> StudyRow | None:
        row = studies.read_study(study_id)
        if row is None:
            return None
        step = steps.fail(Trigger.CRASHED, FailedStep.INTERNAL, "internal", TEXT)
        changes = {**step.changes, "crashes": row.crashes + 1, "deadline_at": None, "qc_total": row.instances_received}
        after = studies.record_transition(
            Transition(
                study_id=study_id, trigger=step.trigger, by="agent", expected_status=row.status,
                expected_revision=row.revision, detail=step.detail, changes=changes,
            ),
            at,
        )  # fmt: skip
        news.plan(after, self._around.settings.notify)
        return after
