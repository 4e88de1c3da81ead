"""A study while it arrives: evidence, deadlines, Stable.

Job: put what the judges need together, do what they decide and note what they said. Place: part of the study's actor.
It must never turn a study Stable on evidence that has been overtaken by another image.
"""

from __future__ import annotations

from typing import assert_never

from agent.actors.study import steps
from agent.actors.study.core import StudyCore
from agent.actors.study.evidence import EvidenceBook, decision_detail, findings_json
from agent.actors.study.steps import Step
from agent.actors.surroundings import Surroundings
from agent.actors.timer import Appointment
from agent.completeness import Decision, decide
from agent.messages import LookAgain, MeasureStudy
from agent.store import studies
from agent.study import StudyStatus, Trigger

ARRIVING = (StudyStatus.RECEIVING, StudyStatus.UNSTABLE)
LOOK_EVERY_S = 1.0
LOOK_SHARE = 20  # a look may take at most a twentieth of the time between two
LOOKS_MAX = 5


class ArrivingStudy(StudyCore):
    """The part of a study's life before Stable."""

    def __init__(self, around: Surroundings, study_id: str, life: int) -> None:
        super().__init__(around, study_id, life)
        self._book = self._new_book()
        self._looked_at = float("-inf")
        self._look_cost_s = 0.0
        self._appointment: Appointment | None = None
        self._said = ""

    def _new_book(self) -> EvidenceBook:
        return EvidenceBook(self._around.settings.qc.profiles)

    def on_stop(self) -> None:
        """Nothing is kept that the rows do not hold."""
        if self._appointment is not None:
            self._appointment.cancel()

    def _arrived(self, new: int) -> None:
        row = self._row
        if row is None:
            return
        if new and self._around.settings.qc.on_arrival:
            self._around.post.qc(MeasureStudy(self._id))
        if row.status in ARRIVING and not row.deleted:
            wait_s = (
                self._looked_at + max(LOOK_EVERY_S, LOOK_SHARE * self._look_cost_s) - self._around.clock.monotonic()
            )
            if wait_s > 0:
                self._look_in(wait_s)
                return
        self._go_on()

    def _look_in(self, seconds: float) -> None:
        if self._appointment is not None:
            self._appointment.cancel()
        self._appointment = self._around.timer.after(seconds, lambda: self._around.post.study(self._id, LookAgain()))

    def _evaluate(self) -> None:
        """Ask the judges and do what they decide; once more when images came in the meantime."""
        for _ in range(LOOKS_MAX):
            started = self._around.clock.monotonic()
            decision = self._decide()
            self._looked_at = self._around.clock.monotonic()
            self._look_cost_s = self._looked_at - started
            if decision is None or self._settle(decision):
                return
            if self._row is None or self._row.status not in ARRIVING:
                return
        self._look_in(LOOK_EVERY_S)

    def _decide(self) -> Decision | None:
        row = self._row
        assert row is not None
        ages = self._around.traffic.ages(self._id)
        if row.status is StudyStatus.RECEIVING and not ages.associations:
            self._take(Step(Trigger.ASSOCIATION_CLOSED))
            return None
        self._book.add(self._around.read(lambda: studies.read_instances(self._id)))
        return decide(self._book.evidence(ages, self._around.settings.study))

    def _settle(self, decision: Decision) -> bool:
        """Do what was decided; False when the study has changed since."""
        row = self._row
        assert row is not None
        said = findings_json(decision.findings)
        changes: dict[str, object] = {
            "completeness_json": said,
            "series_expected": decision.series_expected,
            "instances_expected": decision.instances_expected,
        }
        match decision.action:
            case "wait":
                self._wait(decision, changes)
                return True
            case "hold":
                return row.held or self._take(steps.hold_for_images(changes, decision_detail(decision)))
            case "stable" | "stable_incomplete":
                return self._become_stable(decision, changes)
            case _ as never:
                assert_never(never)

    def _wait(self, decision: Decision, changes: dict[str, object]) -> None:
        row = self._row
        assert row is not None
        now = self._around.clock.timestamp()
        deadline = None if decision.look_again_in_s is None else now + decision.look_again_in_s
        said = f"{changes['completeness_json']}|{changes['instances_expected']}|{changes['series_expected']}"
        if said != self._said or deadline != row.deadline_at:
            self._said = said
            revision = row.revision
            self._around.write(lambda: studies.update_progress(self._id, revision, deadline_at=deadline, **changes))
        if decision.look_again_in_s is not None:
            self._look_in(decision.look_again_in_s)

    def _become_stable(self, decision: Decision, changes: dict[str, object]) -> bool:
        row = self._row
        assert row is not None
        if row.status is StudyStatus.RECEIVING:  # an association is still open, but nothing comes through it
            return self._take(Step(Trigger.ASSOCIATION_CLOSED, detail={"because": decision.because}))
        is_proven = any(
            f.scope == "study" and f.answer == "met" and not f.numbers.get("unproven") for f in decision.findings
        )
        trigger = Trigger.FOUND_COMPLETE if is_proven and decision.action == "stable" else Trigger.WAITED_OUT
        step = steps.become_stable(
            row,
            trigger,
            incomplete=decision.action == "stable_incomplete",
            changes=changes,
            detail=decision_detail(decision),
        )
        counted = row.instances_received
        return self._take(step, guard=lambda: self._count() == counted)

    def _count(self) -> int:
        """Return how many instances the row counts now; in the writer's thread."""
        row = studies.read_study(self._id)
        return -1 if row is None else row.instances_received
