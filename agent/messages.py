"""Every message between actors.

Job: one frozen, slotted dataclass for each thing an actor may be told, and for each receiving actor the closed union
of what it understands. Place: imported by ``actors`` and ``engine``. A message is a hint that rows have changed,
never the only copy of a fact: it may be lost or come twice. It must never carry patient data, pixels or an answer to
a question.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.study import FailedStep, StudyStatus


@dataclass(frozen=True, slots=True)
class Begin:
    """Read the rows and take up the work they ask for; the first message of every actor."""


# ---- to a study -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class InstancesArrived:
    """Instances of the study were stored and indexed."""

    new: int
    duplicates: int = 0
    conflicts: int = 0


@dataclass(frozen=True, slots=True)
class AssociationEnded:
    """An association that brought instances of the study is over."""


@dataclass(frozen=True, slots=True)
class LookAgain:
    """A deadline of the study has come, or something about it may have changed."""


@dataclass(frozen=True, slots=True)
class CommandGiven:
    """A person gave a command; its row is claimed."""

    command_id: int


@dataclass(frozen=True, slots=True)
class QcJudged:
    """The quality report of a revision is stored."""

    revision: int


@dataclass(frozen=True, slots=True)
class QcBroke:
    """Quality control of a revision could not run."""

    revision: int
    code: str
    text: str


@dataclass(frozen=True, slots=True)
class UploadFinished:
    """Everything of the order is in the cloud, the manifest last."""

    revision: int
    order_id: str


@dataclass(frozen=True, slots=True)
class UploadBroke:
    """The upload was refused, or an object must not leave."""

    revision: int
    order_id: str
    step: FailedStep
    code: str
    text: str


@dataclass(frozen=True, slots=True)
class OrderAccepted:
    """The cloud has begun with the order."""

    revision: int
    order_id: str


@dataclass(frozen=True, slots=True)
class ReportStored:
    """The report of the order is stored and verified."""

    revision: int
    order_id: str


@dataclass(frozen=True, slots=True)
class OrderBroke:
    """The cloud could not analyse the order."""

    revision: int
    order_id: str
    code: str
    text: str


@dataclass(frozen=True, slots=True)
class RetentionOver:
    """The study was delivered long enough ago to be deleted."""


StudyMessage = (
    Begin
    | InstancesArrived
    | AssociationEnded
    | LookAgain
    | CommandGiven
    | QcJudged
    | QcBroke
    | UploadFinished
    | UploadBroke
    | OrderAccepted
    | ReportStored
    | OrderBroke
    | RetentionOver
)


# ---- to the registry of studies -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ForStudy:
    """Deliver `message` to a study, waking it when it sleeps."""

    study_id: str
    message: StudyMessage


@dataclass(frozen=True, slots=True)
class StudyHandled:
    """A study has handled `count` messages of its life `life`; a resting one waits only for the outside."""

    study_id: str
    life: int
    count: int
    is_resting: bool


@dataclass(frozen=True, slots=True)
class StudyCrashed:
    """A study's actor failed; what was queued for it is lost."""

    study_id: str
    life: int


@dataclass(frozen=True, slots=True)
class Sweep:
    """Wake the studies whose deadline has come, put the idle ones to sleep."""


@dataclass(frozen=True, slots=True)
class WakeAll:
    """Wake every study that has something left to do (another actor lost its queue, the wall clock jumped)."""


RegistryMessage = Begin | ForStudy | StudyHandled | StudyCrashed | Sweep | WakeAll


# ---- to the quality control dispatcher ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MeasureStudy:
    """Instances of the study may wait for measurement."""

    study_id: str


@dataclass(frozen=True, slots=True)
class JudgeStudy:
    """The study is Stable: measure what is left, then judge. A report older than `since` does not count."""

    study_id: str
    revision: int
    since: float


@dataclass(frozen=True, slots=True)
class BatchMeasured:
    """A batch of measurements is stored, or could not be made (`failed`)."""

    study_id: str
    instance_ids: tuple[int, ...]
    failed: str = ""


@dataclass(frozen=True, slots=True)
class JudgementDone:
    """A judgement is stored, or could not be made (`code`, `text`)."""

    study_id: str
    revision: int
    code: str = ""
    text: str = ""


QcMessage = Begin | MeasureStudy | JudgeStudy | BatchMeasured | JudgementDone


# ---- to the uploader ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UploadStudy:
    """The upload job of a study is queued."""

    study_id: str
    revision: int


@dataclass(frozen=True, slots=True)
class CancelOrder:
    """The order is over here: stop its transfer, and tell the cloud when its job says that it is void."""

    order_id: str


@dataclass(frozen=True, slots=True)
class PauseOrder:
    """The study is held: stop the transfer, keep the order."""

    order_id: str


@dataclass(frozen=True, slots=True)
class UploadEnded:
    """The thread of an order has ended."""

    order_id: str


UploaderMessage = Begin | UploadStudy | CancelOrder | PauseOrder | UploadEnded


# ---- to the result watcher ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WatchOrder:
    """An order is in the cloud: follow it."""

    study_id: str
    revision: int
    order_id: str
    since: float


@dataclass(frozen=True, slots=True)
class ForgetOrder:
    """Nobody waits for the order any more."""

    order_id: str


@dataclass(frozen=True, slots=True)
class Poll:
    """Look at the orders now."""


WatcherMessage = Begin | WatchOrder | ForgetOrder | Poll


# ---- to the notifier ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StudyReached:
    """A study reached a status that people are told about."""

    study_id: str
    revision: int
    status: StudyStatus
    since: float
    text: str = ""


@dataclass(frozen=True, slots=True)
class AlarmRaised:
    """An alarm was opened."""

    code: str
    text: str
    hint: str


NotifierMessage = Begin | StudyReached | AlarmRaised


# ---- to the janitor, the command inbox, the supervisor --------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CleanUp:
    """Look for what may be deleted."""


JanitorMessage = Begin | CleanUp


@dataclass(frozen=True, slots=True)
class LookForCommands:
    """Commands may have been given."""


InboxMessage = Begin | LookForCommands


@dataclass(frozen=True, slots=True)
class ActorFailed:
    """An actor of the house failed and must be started again."""

    kind: str


@dataclass(frozen=True, slots=True)
class StartAgain:
    """The delay before a restart is over."""

    kind: str


SupervisorMessage = Begin | ActorFailed | StartAgain

Message = (
    StudyMessage
    | RegistryMessage
    | QcMessage
    | UploaderMessage
    | WatcherMessage
    | NotifierMessage
    | JanitorMessage
    | InboxMessage
    | SupervisorMessage
)
