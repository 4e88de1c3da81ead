"""The life of a study: statuses, triggers, transitions, commands.

Job: the one place that defines which statuses exist, which trigger leads from which to which, and which command a
role may give in each. Everything else derives from it: the database constraint, the buttons of the dashboard, the
diagram in the documents. Place: pure, imported by store, actors and web. It must never touch a row, a clock or a
message.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from agent.errors import IllegalTransition


class StudyStatus(StrEnum):
    """Where a study stands, spelt as interfaces show it."""

    RECEIVING = "receiving"
    UNSTABLE = "unstable"
    STABLE = "stable"
    QC_PASSED = "qc_passed"
    UPLOADING = "uploading"
    PENDING = "pending"
    PROCESSING = "processing"
    DELIVERED = "delivered"
    FAILED = "failed"


class Trigger(StrEnum):
    """What can happen to a study."""

    INSTANCE_ARRIVED = "instance_arrived"
    ASSOCIATION_CLOSED = "association_closed"
    FOUND_COMPLETE = "found_complete"
    WAITED_OUT = "waited_out"
    FORCED_STABLE = "forced_stable"
    QC_PASS = "qc_pass"
    QC_REVIEW = "qc_review"
    QC_FAIL = "qc_fail"
    OVERRIDDEN = "overridden"
    REJECTED = "rejected"
    UPLOAD_STARTED = "upload_started"
    UPLOAD_FINISHED = "upload_finished"
    UPLOAD_FAILED = "upload_failed"
    ORDER_ACCEPTED = "order_accepted"
    REPORT_STORED = "report_stored"
    ORDER_FAILED = "order_failed"
    CANCELLED = "cancelled"
    RETRIED_QC = "retried_qc"
    RETRIED_UPLOAD = "retried_upload"
    REPROCESSED = "reprocessed"
    HELD = "held"
    RELEASED = "released"
    CRASHED = "crashed"
    DELETED = "deleted"
    KEPT_ASIDE = "kept_aside"


class Role(StrEnum):
    """Roles of people and tokens."""

    VIEWER = "viewer"
    TECHNOLOGIST = "technologist"
    REVIEWER = "reviewer"
    ADMIN = "admin"


class FailedStep(StrEnum):
    """The step in which a Failed study failed; decides what *retry* repeats."""

    QC = "qc"
    DEID = "deid"
    UPLOAD = "upload"
    ANALYSIS = "analysis"
    CANCELLED = "cancelled"
    INTERNAL = "internal"


class Verb(StrEnum):
    """Commands a person may give, spelt as the command line and the API spell them."""

    FORCE_STABLE = "force-stable"
    RETRY = "retry"
    OVERRIDE = "override"
    REJECT = "reject"
    REPROCESS = "reprocess"
    HOLD = "hold"
    RELEASE = "release"
    CANCEL = "cancel"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class StudyFlags:
    """What stands beside the status."""

    held: bool = False
    needs_review: bool = False
    incomplete: bool = False
    conflict: bool = False
    quarantined: bool = False
    deleted: bool = False

    def names(self) -> list[str]:
        """Return the names of the flags that are set, in a fixed order."""
        return [name for name in self.__slots__ if getattr(self, name)]


@dataclass(frozen=True, slots=True)
class StatusLook:
    """How a status is shown: a word, a colour token and a shape."""

    word: str
    token: str
    shape: str
    meaning: str


S = StudyStatus
T = Trigger

LOOKS: dict[StudyStatus, StatusLook] = {
    S.RECEIVING: StatusLook("Receiving", "receiving", "▷", "initial transfer in progress"),
    S.UNSTABLE: StatusLook("Unstable", "unstable", "◐", "images arriving, data set incomplete"),
    S.STABLE: StatusLook("Stable", "stable", "●", "all required images received and verified"),
    S.QC_PASSED: StatusLook("QC Passed", "qc-passed", "✓", "quality control passed"),
    S.UPLOADING: StatusLook("Uploading", "uploading", "↑", "de-identified objects on their way"),
    S.PENDING: StatusLook("Pending", "pending", "…", "uploaded, awaits the cloud"),
    S.PROCESSING: StatusLook("Processing", "processing", "⚙", "the cloud analyses the study"),
    S.DELIVERED: StatusLook("Delivered", "delivered", "✉", "report available for review"),
    S.FAILED: StatusLook("Failed", "failed", "✕", "quality control or processing failed"),
}

_ARRIVING = (S.RECEIVING, S.UNSTABLE)
_IN_CLOUD = (S.UPLOADING, S.PENDING, S.PROCESSING)

TRANSITIONS: dict[tuple[StudyStatus, Trigger], StudyStatus] = {
    (S.RECEIVING, T.INSTANCE_ARRIVED): S.RECEIVING,
    (S.RECEIVING, T.ASSOCIATION_CLOSED): S.UNSTABLE,
    (S.UNSTABLE, T.FOUND_COMPLETE): S.STABLE,
    (S.UNSTABLE, T.WAITED_OUT): S.STABLE,
    **{(s, T.FORCED_STABLE): S.STABLE for s in _ARRIVING},
    # a late image reopens the study, whatever it had reached
    **{(s, T.INSTANCE_ARRIVED): S.UNSTABLE for s in S if s is not S.RECEIVING},
    (S.STABLE, T.QC_PASS): S.QC_PASSED,
    (S.STABLE, T.QC_REVIEW): S.STABLE,
    (S.STABLE, T.QC_FAIL): S.FAILED,
    (S.STABLE, T.OVERRIDDEN): S.QC_PASSED,
    (S.STABLE, T.REJECTED): S.FAILED,
    (S.FAILED, T.OVERRIDDEN): S.QC_PASSED,
    (S.QC_PASSED, T.UPLOAD_STARTED): S.UPLOADING,
    (S.UPLOADING, T.UPLOAD_FINISHED): S.PENDING,
    (S.UPLOADING, T.UPLOAD_FAILED): S.FAILED,
    (S.PENDING, T.ORDER_ACCEPTED): S.PROCESSING,
    **{(s, T.REPORT_STORED): S.DELIVERED for s in (S.PENDING, S.PROCESSING)},
    **{(s, T.ORDER_FAILED): S.FAILED for s in (S.PENDING, S.PROCESSING)},
    **{(s, T.CANCELLED): S.FAILED for s in _IN_CLOUD},
    (S.FAILED, T.RETRIED_QC): S.STABLE,
    (S.FAILED, T.RETRIED_UPLOAD): S.QC_PASSED,
    **{(s, T.REPROCESSED): S.STABLE for s in (S.STABLE, S.QC_PASSED, S.DELIVERED, S.FAILED)},
    **{(s, T.HELD): s for s in S if s is not S.DELIVERED},
    **{(s, T.RELEASED): s for s in S},
    **{(s, T.CRASHED): S.FAILED for s in S if s not in (S.FAILED, S.DELIVERED)},
    **{(s, T.DELETED): s for s in S},
    (S.DELIVERED, T.KEPT_ASIDE): S.DELIVERED,  # late images of a site that does not want them to reopen the study
}
"""Every legal step. A key that is missing is an illegal one."""

NEW_REVISION: frozenset[Trigger] = frozenset({T.REPROCESSED})
"""Triggers that always start a new revision."""

_TECHNOLOGIST = {Verb.FORCE_STABLE, Verb.RETRY, Verb.REPROCESS, Verb.HOLD, Verb.RELEASE, Verb.CANCEL}
_REVIEWER = _TECHNOLOGIST | {Verb.OVERRIDE, Verb.REJECT, Verb.DELETE}

VERBS_OF_ROLE: dict[Role, frozenset[Verb]] = {
    Role.VIEWER: frozenset(),
    Role.TECHNOLOGIST: frozenset(_TECHNOLOGIST),
    Role.REVIEWER: frozenset(_REVIEWER),
    Role.ADMIN: frozenset(),
}

REASON_REQUIRED: frozenset[Verb] = frozenset({Verb.OVERRIDE, Verb.REJECT, Verb.DELETE, Verb.FORCE_STABLE})


def next_status(status: StudyStatus, trigger: Trigger) -> StudyStatus:
    """Return the status that `trigger` leads to from `status`.

    Raises
    ------
    IllegalTransition
        If the table has no such step.
    """
    try:
        return TRANSITIONS[status, trigger]
    except KeyError:
        msg = f"A study that is {status} does not accept {trigger}."
        raise IllegalTransition(msg) from None


def starts_revision(status: StudyStatus, trigger: Trigger) -> bool:
    """Say whether `trigger` in `status` starts revision r+1.

    An image that arrives after the study was Stable does, and so does a reprocess on demand.
    """
    if trigger in NEW_REVISION:
        return True
    return trigger is T.INSTANCE_ARRIVED and status not in _ARRIVING


@dataclass(frozen=True, slots=True)
class CommandContext:
    """What decides, beside status and role, which commands make sense."""

    flags: StudyFlags = field(default_factory=StudyFlags)
    failed_step: FailedStep | None = None


def _is_sensible(verb: Verb, status: StudyStatus, context: CommandContext) -> bool:
    flags = context.flags
    if flags.deleted:
        return False
    match verb:
        case Verb.FORCE_STABLE:
            return status in _ARRIVING
        case Verb.RETRY:
            return status is S.FAILED
        case Verb.OVERRIDE:
            failed_qc = status is S.FAILED and context.failed_step is FailedStep.QC
            return failed_qc or (status is S.STABLE and flags.needs_review)
        case Verb.REJECT:
            return status is S.STABLE and flags.needs_review
        case Verb.REPROCESS:
            return (status, T.REPROCESSED) in TRANSITIONS
        case Verb.HOLD:
            return not flags.held and (status, T.HELD) in TRANSITIONS
        case Verb.RELEASE:
            return flags.held
        case Verb.CANCEL:
            return status in _IN_CLOUD
        case Verb.DELETE:
            return status not in _IN_CLOUD


def allowed_commands(status: StudyStatus, role: Role, context: CommandContext | None = None) -> list[Verb]:
    """Return the commands `role` may give to a study, in the order they are shown.

    Parameters
    ----------
    status : StudyStatus
        Where the study stands.
    role : Role
        Who asks.
    context : CommandContext, optional
        Flags and failed step; without it, a study with no flag set.
    """
    context = context or CommandContext()
    allowed = VERBS_OF_ROLE[role]
    return [verb for verb in Verb if verb in allowed and _is_sensible(verb, status, context)]


def retry_trigger(step: FailedStep) -> Trigger:
    """Return the trigger that repeats the step which failed."""
    if step in (FailedStep.QC, FailedStep.INTERNAL):
        return T.RETRIED_QC
    return T.RETRIED_UPLOAD


def status_constraint(column: str = "status") -> str:
    """Return the SQL check constraint that allows the statuses of this module and no other."""
    values = ", ".join(f"'{s.value}'" for s in StudyStatus)
    return f"{column} IN ({values})"


def transition_diagram() -> str:
    """Return the transition table as a Mermaid state diagram, for the documents."""
    lines = ["stateDiagram-v2", "    [*] --> receiving"]
    edges: dict[tuple[str, str], list[str]] = {}
    for (source, trigger), target in TRANSITIONS.items():
        if source is target and trigger in (T.HELD, T.RELEASED, T.DELETED, T.KEPT_ASIDE):
            continue
        edges.setdefault((source.value, target.value), []).append(trigger.value)
    lines += [f"    {a} --> {b}: {', '.join(triggers)}" for (a, b), triggers in edges.items()]
    return "\n".join(lines)
