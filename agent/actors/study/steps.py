"""What changes with each step of a study.

Job: for every trigger the flags, columns and job that go with it, in one place. Place: called by the study's actor;
pure functions of a study's row. It must never write.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import assert_never

from agent.store.jobs import NewJob
from agent.store.studies import StudyRow
from agent.study import FailedStep, StudyStatus, Trigger, Verb, retry_trigger

IN_CLOUD = (StudyStatus.UPLOADING, StudyStatus.PENDING, StudyStatus.PROCESSING)

_NO_FAILURE: Mapping[str, object] = {"failed_step": None, "failure_code": None, "failure_text": None}
_NO_VERDICT: Mapping[str, object] = {"qc_verdict": None, "qc_score": None}
_NO_ORDER: Mapping[str, object] = {
    "order_id": None,
    "upload_done_bytes": 0,
    "upload_total_bytes": 0,
    "upload_done_objects": 0,
    "upload_total_objects": 0,
    "upload_problem": "",
    "cloud_progress": 0,
}


@dataclass(frozen=True, slots=True)
class Step:
    """One trigger with all that goes with it."""

    trigger: Trigger
    flags: Mapping[str, bool] = field(default_factory=dict)
    changes: Mapping[str, object] = field(default_factory=dict)
    detail: Mapping[str, object] = field(default_factory=dict)
    job: NewJob | None = None


def void_order(row: StudyRow, reason: str) -> NewJob | None:
    """Return the job that declares the study's order void, when there is one."""
    if row.order_id and row.status in IN_CLOUD:
        return NewJob("upload", {"void": reason}, row.order_id)
    return None


def reopen(row: StudyRow) -> Step:
    """A late image: the next revision starts, whatever the study had reached."""
    return Step(
        Trigger.INSTANCE_ARRIVED,
        flags={"needs_review": False, "incomplete": False},
        changes={**_NO_FAILURE, **_NO_VERDICT, **_NO_ORDER, "qc_total": 0},
        detail={"order_cancelled": row.status in IN_CLOUD},
        job=void_order(row, "superseded"),
    )


def keep_aside(row: StudyRow) -> Step:
    """Late images that the site wants kept aside: a person decides, and until then nothing is deleted."""
    return Step(
        Trigger.KEPT_ASIDE,
        flags={"needs_review": True},
        detail={"instances": row.instances_received, "delivered": row.qc_total},
    )


def come_back() -> Step:
    """An image of a deleted study: it lives again, with what comes from now on."""
    return Step(Trigger.INSTANCE_ARRIVED, flags={"deleted": False, "incomplete": False}, detail={"because": "deleted"})


def become_stable(
    row: StudyRow, trigger: Trigger, *, incomplete: bool, changes: Mapping[str, object], detail: Mapping[str, object]
) -> Step:
    """Complete, waited out or forced: quality control is next. A hold that the agent set for missing images ends."""
    held_for_images = row.held and row.incomplete
    flags = {"incomplete": incomplete, **({"held": False} if held_for_images else {})}
    return Step(
        trigger,
        flags=flags,
        changes={**changes, "qc_total": row.instances_received, "deadline_at": None},
        detail={**detail, "instances": row.instances_received},
        job=NewJob("qc"),
    )


def hold_for_images(changes: Mapping[str, object], detail: Mapping[str, object]) -> Step:
    """Waited long enough, images are missing, and the site wants a person to decide."""
    return Step(
        Trigger.HELD, flags={"held": True, "incomplete": True}, changes={**changes, "deadline_at": None}, detail=detail
    )


def judge(verdict: str, score: float | None, text: str, *, gate: bool) -> Step:
    """The verdict of quality control; without the gate it is only reported."""
    changes: dict[str, object] = {"qc_verdict": verdict, "qc_score": score}
    detail: dict[str, object] = {"verdict": verdict, "score": score}
    if verdict == "pass" or not gate:
        return Step(Trigger.QC_PASS, flags={"needs_review": False}, changes=changes, detail={**detail, "gate": gate})
    if verdict == "review":
        return Step(Trigger.QC_REVIEW, flags={"needs_review": True}, changes=changes, detail=detail)
    changes |= {"failed_step": FailedStep.QC.value, "failure_code": "qc_failed", "failure_text": text}
    return Step(Trigger.QC_FAIL, flags={"needs_review": False}, changes=changes, detail=detail)


def fail(trigger: Trigger, step: FailedStep, code: str, text: str) -> Step:
    """A step that failed for good."""
    return Step(
        trigger,
        changes={"failed_step": step.value, "failure_code": code, "failure_text": text, "upload_problem": ""},
        detail={"step": step.value, "code": code, "text": text},
    )


def start_upload(order_id: str, objects: int, size_bytes: int) -> Step:
    """The upload begins under a new order."""
    progress = {"upload_total_objects": objects, "upload_total_bytes": size_bytes}
    return Step(
        Trigger.UPLOAD_STARTED,
        changes={**_NO_ORDER, **progress, "order_id": order_id},
        detail={"order": order_id, "objects": objects},
        job=NewJob("upload", {}, order_id),
    )


def command(row: StudyRow, verb: Verb) -> Step:
    """What a person's command does."""
    match verb:
        case Verb.FORCE_STABLE:
            return become_stable(row, Trigger.FORCED_STABLE, incomplete=row.incomplete, changes={}, detail={})
        case Verb.RETRY:
            return _retry(row)
        case Verb.OVERRIDE:
            return Step(Trigger.OVERRIDDEN, flags={"needs_review": False}, changes=_NO_FAILURE)
        case Verb.REJECT:
            text = "A reviewer rejected the study."
            step = fail(Trigger.REJECTED, FailedStep.QC, "qc_rejected", text)
            return Step(step.trigger, flags={"needs_review": False}, changes=step.changes, detail=step.detail)
        case Verb.REPROCESS:
            return Step(
                Trigger.REPROCESSED,
                flags={"needs_review": False},
                changes={**_NO_FAILURE, **_NO_VERDICT, **_NO_ORDER, "qc_total": row.instances_received},
                job=NewJob("qc"),
            )
        case Verb.HOLD:
            return Step(Trigger.HELD, flags={"held": True})
        case Verb.RELEASE:
            return Step(Trigger.RELEASED, flags={"held": False})
        case Verb.CANCEL:
            step = fail(Trigger.CANCELLED, FailedStep.CANCELLED, "cancelled", "Cancelled by a person.")
            return Step(step.trigger, changes=step.changes, detail=step.detail, job=void_order(row, "cancelled"))
        case Verb.DELETE:
            flags = {"deleted": True, "needs_review": False}
            return Step(Trigger.DELETED, flags=flags, changes={"deadline_at": None, "qc_total": 0})
        case _ as never:
            assert_never(never)


def _retry(row: StudyRow) -> Step:
    failed = row.failed_step or FailedStep.INTERNAL
    trigger = retry_trigger(failed)
    if trigger is Trigger.RETRIED_QC:
        changes = {**_NO_FAILURE, **_NO_VERDICT, **_NO_ORDER, "qc_total": row.instances_received}
        return Step(trigger, flags={"needs_review": False}, changes=changes, job=NewJob("qc"))
    return Step(trigger, changes={**_NO_FAILURE, **_NO_ORDER})
