"""The actor of one study.

Job: own the status of one study. Every message makes it look at its row and take the next step that this allows; each
step is one transaction. Place: started and told by ``registry`` only; tells the dispatcher of quality control, the
uploader, the result watcher and the notifier. It must never trust a message for a fact: a message may be lost or come
twice.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from agent.actors.study import steps
from agent.actors.study.arriving import ARRIVING, ArrivingStudy
from agent.actors.study.commands import outcome_of, refusal_of, worst_reasons
from agent.actors.study.steps import Step
from agent.actors.study.upload_plan import UploadPlan, plan_upload
from agent.messages import (
    AssociationEnded,
    Begin,
    CleanUp,
    CommandGiven,
    ForgetOrder,
    InstancesArrived,
    JudgeStudy,
    LookAgain,
    OrderAccepted,
    OrderBroke,
    PauseOrder,
    QcBroke,
    QcJudged,
    ReportStored,
    RetentionOver,
    StudyMessage,
    UploadBroke,
    UploadFinished,
    UploadStudy,
    WatchOrder,
)  # fmt: skip
from agent.ops.retention import RetentionCandidate, may_delete
from agent.store import commands, reports, studies
from agent.store.commands import CommandRow
from agent.store.jobs import NewJob
from agent.store.reader.study import read_commands
from agent.store.studies import StudyRow
from agent.study import FailedStep, StudyStatus, Trigger, Verb

COMMAND_TRIES = 3


class StudyActor(ArrivingStudy):
    """One study."""

    def begin(self) -> None:
        """Take up what the rows say, and the commands that an earlier life had not finished."""
        self._reload()
        for command in self._around.read(lambda: read_commands(self._id)):
            if command.state == "claimed":
                self._obey(command.id)

    def receive(self, message: StudyMessage) -> None:
        """Look at the rows and take the next step."""
        self._reload()
        match message:
            case InstancesArrived(new):
                self._arrived(new)
            case AssociationEnded() | LookAgain() | Begin():
                self._go_on()
            case CommandGiven(command_id):
                self._obey(command_id)
            case QcJudged(revision):
                self._judged(revision)
            case QcBroke(revision, code, text):
                if self._is_at(revision, StudyStatus.STABLE):
                    self._take(steps.fail(Trigger.QC_FAIL, FailedStep.QC, code, text))
            case UploadFinished(revision, order_id):
                if self._is_at(revision, StudyStatus.UPLOADING, order_id):
                    self._take(Step(Trigger.UPLOAD_FINISHED, job=NewJob("watch", {}, order_id)))
            case UploadBroke(revision, order_id, step, code, text):
                if self._is_at(revision, StudyStatus.UPLOADING, order_id):
                    self._take(steps.fail(Trigger.UPLOAD_FAILED, step, code, text))
            case OrderAccepted(revision, order_id):
                if self._is_at(revision, StudyStatus.PENDING, order_id):
                    self._take(Step(Trigger.ORDER_ACCEPTED))
            case ReportStored(revision, order_id):
                self._delivered(revision, order_id)
            case OrderBroke():
                self._order_broke(message)
            case RetentionOver():
                self._retire()
            case _ as never:
                assert_never(never)

    # -- the next step --------------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        row = self._row
        if row is None:
            return
        if row.deleted:
            if row.instances_received:
                self._take(steps.come_back())
        elif row.status in ARRIVING:
            self._evaluate()
        elif row.instances_received > row.qc_total:
            self._reopen()
        elif row.held:
            self._rest(row)
        else:
            self._work(row)

    def _rest(self, row: StudyRow) -> None:
        """Nothing runs while the study is held; what ran goes on after the release."""
        if row.order_id and row.status is StudyStatus.UPLOADING:
            self._around.post.uploader(PauseOrder(row.order_id))
        elif row.order_id:
            self._around.post.watcher(ForgetOrder(row.order_id))

    def _work(self, row: StudyRow) -> None:
        """Ask whoever does the next piece of work; asking twice does no harm."""
        post = self._around.post
        match row.status:
            case StudyStatus.STABLE:
                if not row.needs_review:
                    post.qc(JudgeStudy(self._id, row.revision, row.status_at))
            case StudyStatus.QC_PASSED:
                if self._around.cloud is not None:
                    self._start_upload()
            case StudyStatus.UPLOADING:
                post.uploader(UploadStudy(self._id, row.revision))
            case StudyStatus.PENDING | StudyStatus.PROCESSING:
                post.watcher(WatchOrder(self._id, row.revision, row.order_id or "", row.status_at))
            case _:
                pass

    def _reopen(self) -> None:
        """Images came after the study was Stable."""
        row = self._row
        assert row is not None
        if row.status is StudyStatus.DELIVERED and self._around.settings.study.late_arrivals == "keep_aside":
            self._around.alarm(
                "late_images_kept", "warning",
                "Images came for a study that was already delivered; they are kept aside.",
                "Reprocess the study to include them.",
            )  # fmt: skip
            if not row.needs_review:
                self._take(steps.keep_aside(row))
            return
        self._take(steps.reopen(row))

    # -- orders ---------------------------------------------------------------------------------------------------

    def _start_upload(self) -> None:
        row = self._row
        assert row is not None
        plan: UploadPlan = plan_upload(self._around, row)
        self._take(steps.start_upload(plan.order_id, plan.objects, plan.size_bytes), also=plan.record)

    def _delivered(self, revision: int, order_id: str) -> None:
        row = self._row
        statuses = (StudyStatus.PENDING, StudyStatus.PROCESSING)
        if any(self._is_at(revision, status, order_id) for status in statuses):
            self._take(Step(Trigger.REPORT_STORED), also=lambda: reports.supersede(self._id, revision))
        elif row is not None and row.order_id == order_id:
            self._go_on()

    def _order_broke(self, message: OrderBroke) -> None:
        statuses = (StudyStatus.PENDING, StudyStatus.PROCESSING)
        if any(self._is_at(message.revision, status, message.order_id) for status in statuses):
            self._take(steps.fail(Trigger.ORDER_FAILED, FailedStep.ANALYSIS, message.code, message.text))

    # -- quality control ------------------------------------------------------------------------------------------

    def _judged(self, revision: int) -> None:
        row = self._row
        if row is None or row.needs_review or not self._is_at(revision, StudyStatus.STABLE):
            return
        report = self._around.read(lambda: reports.read_qc_report(self._id, revision))
        if report is None or report.created_at < row.status_at:
            self._go_on()
            return
        gate = self._around.settings.qc.gate
        self._take(steps.judge(report.verdict, report.score, worst_reasons(report.body_json), gate=gate))

    # -- people ---------------------------------------------------------------------------------------------------

    def _obey(self, command_id: int) -> None:
        """Do what a person asked for, or say why not."""
        command = self._around.read(lambda: commands.read_command(command_id))
        if command is None or command.state != "claimed" or command.study_id != self._id:
            return
        for _ in range(COMMAND_TRIES):
            row = self._row
            refusal = refusal_of(row, command)
            if row is None or refusal:
                self._refuse(command_id, refusal)
                return
            verb = Verb(command.verb)
            step = steps.command(row, verb)
            if command.reason:
                step = replace(step, detail={**step.detail, "reason": command.reason})
            taken = (
                self._delete(step, command)
                if verb is Verb.DELETE
                else self._take(step, command=command, outcome=outcome_of(verb))
            )
            if taken:
                return
        self._refuse(command_id, "The study kept changing; try again.")

    def _refuse(self, command_id: int, why: str) -> None:
        at = self._around.clock.timestamp()
        self._around.write(lambda: commands.finish(command_id, why, done=False, at=at))

    def _retire(self) -> None:
        """Delete a delivered study whose time is over."""
        row, settings = self._row, self._around.settings.retention
        if row is None:
            return
        candidate = RetentionCandidate(
            row.id, row.status, row.status_at, row.flags, row.instances_received > row.qc_total
        )
        if may_delete(candidate, settings, self._around.clock.timestamp()):
            step = steps.command(row, Verb.DELETE)
            detail = {"because": "retention", "delivered_days": settings.delivered_days}
            self._delete(replace(step, detail=detail), None)

    def _delete(self, step: Step, command: CommandRow | None) -> bool:
        """Flag and shred in one transaction; no receiver may use the study's key meanwhile."""
        row, around = self._row, self._around
        assert row is not None
        by, reason = (command.by, command.reason) if command else ("agent", "retention")
        counted = row.instances_received  # a person deletes whatever there is; retention only what was delivered
        with around.gate.closed(self._id):
            around.forget_key(row.study_uid)
            done = self._take(
                step, command=command, outcome=outcome_of(Verb.DELETE),
                guard=lambda: command is not None or self._count() == counted,
                also=lambda: studies.shred(self._id, by, reason),
            )  # fmt: skip
            around.study_keys.forget(self._id)
        around.traffic.forget(self._id)
        self._book = self._new_book()
        if done:
            around.post.janitor(CleanUp())
        return done
