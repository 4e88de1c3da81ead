"""One study's row and the one way to change it.

Job: read the row, take one step in one transaction, tell the log, the metrics and people. Place: base of the study's
actor. It must never change a row whose status or revision is another than the one it read.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

from agent.actors.base import BaseActor
from agent.actors.study import news
from agent.actors.study.steps import Step
from agent.actors.surroundings import Surroundings
from agent.messages import CancelOrder, ForgetOrder, StudyCrashed, StudyHandled, StudyMessage, StudyReached
from agent.store import jobs, studies
from agent.store.commands import CommandRow
from agent.store.studies import StaleTransition, StudyRow, Transition
from agent.study import StudyStatus, Trigger, next_status

RESTING = (StudyStatus.QC_PASSED, StudyStatus.DELIVERED, StudyStatus.FAILED)


class StudyCore(BaseActor[StudyMessage]):
    """What every part of the study's actor needs.

    Parameters
    ----------
    around : Surroundings
        What every actor is given.
    study_id : str
        Which study.
    life : int
        The registry's number for this start of the actor.
    """

    kind = "study"

    def __init__(self, around: Surroundings, study_id: str, life: int) -> None:
        super().__init__(lambda: around.post.registry(StudyCrashed(study_id, life)))
        self._around = around
        self._id = study_id
        self._life = life
        self._handled = 0
        self._row: StudyRow | None = None

    @abstractmethod
    def _go_on(self) -> None:
        """Take the next step that the row allows."""

    def after_message(self) -> None:
        """Tell the registry, which must not stop a study that has something queued."""
        self._handled += 1
        row = self._row
        is_resting = row is None or row.deleted or row.held or row.status in RESTING
        self._around.post.registry(StudyHandled(self._id, self._life, self._handled, is_resting))

    def _reload(self) -> None:
        self._row = self._around.read(lambda: studies.read_study(self._id))

    def _is_at(self, revision: int, status: StudyStatus, order_id: str | None = None) -> bool:
        row = self._row
        if row is None or row.deleted or row.held or row.revision != revision or row.status is not status:
            return False
        return order_id is None or row.order_id == order_id

    def _take(
        self,
        step: Step,
        *,
        command: CommandRow | None = None,
        outcome: str = "",
        guard: Callable[[], bool] = lambda: True,
        also: Callable[[], object] = lambda: None,
    ) -> bool:
        """Take one step in one transaction and go on from there; False when the study had moved on meanwhile."""
        before = self._row
        assert before is not None
        transition = Transition(
            study_id=self._id, trigger=step.trigger, by=command.by if command else "agent",
            expected_status=before.status, expected_revision=before.revision,
            detail=step.detail, flags=step.flags, changes=step.changes, job=step.job,
            command_id=command.id if command else None, command_outcome=outcome, role=command.role if command else "",
        )  # fmt: skip
        at = self._around.clock.timestamp()

        def operation() -> StudyRow | None:
            if not guard():
                return None
            finish_job(before, step, at)
            studies.record_transition(transition, at)
            also()
            row = studies.read_study(self._id)
            if row is not None and _has_moved(before, row):
                news.plan(row, self._around.settings.notify)
            return row

        try:
            row = self._around.write(operation)
        except StaleTransition:
            row = None
        if row is None:
            self._reload()
            return False
        self._row = row
        self._announce(before, row, step.trigger)
        if (before.order_id and row.order_id != before.order_id) or row.status is StudyStatus.FAILED:
            self._around.post.uploader(CancelOrder(before.order_id or ""))
            self._around.post.watcher(ForgetOrder(before.order_id or ""))
        self._go_on()
        return True

    def _announce(self, before: StudyRow, row: StudyRow, trigger: Trigger) -> None:
        if not _has_moved(before, row):
            self.log.info("study_flags", study=self._id, trigger=trigger.value, flags=row.flags.names())
            return
        self.log.info("study_status", study=self._id, old=before.status.value, new=row.status.value,
                      trigger=trigger.value, revision=row.revision)  # fmt: skip
        if news.news_of(row) is not None:
            text = row.failure_text or ""
            self._around.post.notifier(StudyReached(self._id, row.revision, row.status, row.status_at, text))


def _has_moved(before: StudyRow, row: StudyRow) -> bool:
    return row.status is not before.status or row.revision != before.revision


_STAGE_JOBS: dict[StudyStatus, str] = {
    StudyStatus.STABLE: "qc",
    StudyStatus.UPLOADING: "upload",
    StudyStatus.PENDING: "watch",
    StudyStatus.PROCESSING: "watch",
}


def finish_job(before: StudyRow, step: Step, at: float) -> None:
    """End the job of the stage that a step leaves; inside a writer operation."""
    kind = _STAGE_JOBS.get(before.status)
    after = next_status(before.status, step.trigger)
    if kind is None or _STAGE_JOBS.get(after) == kind:
        return
    code = step.changes.get("failure_code")
    for job in jobs.living_jobs(before.id, kind):
        if "void" not in job.body:
            jobs.finish(job.id, at, error_code=str(code) if code else None)
