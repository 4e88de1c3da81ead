"""The one tree of errors of the agent.

Job: give every failure a stable code, a sentence that says what happened and a hint that says what to do next.
Place: imported by every room; imports nothing of the project. It must never carry patient data: messages and hints are
shown to staff, written to logs and sent in notifications.
"""

from __future__ import annotations


class AgentError(Exception):
    """Base of all errors the agent raises on purpose.

    Parameters
    ----------
    message : str
        What happened, one sentence, free of patient data.
    code : str, optional
        Stable machine-readable code; the class's ``default_code`` when omitted.
    hint : str, optional
        What the reader should do next, one sentence.
    """

    default_code = "agent"
    exit_code = 1

    def __init__(self, message: str, *, code: str | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def __reduce__(self) -> tuple[object, ...]:
        """Survive the trip from a worker process."""
        return (_rebuild, (type(self), self.message, self.code, self.hint))


def _rebuild(kind: type[AgentError], message: str, code: str, hint: str) -> AgentError:
    return kind(message, code=code, hint=hint)


class ConfigError(AgentError):
    """A setting, profile, key file or environment that cannot be used as it is."""

    default_code = "config"
    exit_code = 3


class DicomError(AgentError):
    """Something a DICOM peer sent or did."""

    default_code = "dicom"


class AdmissionRefused(DicomError):
    """An association or object that the admission rules refuse."""

    default_code = "admission_refused"


class BadDataset(DicomError):
    """A data set that cannot be read or breaks a limit."""

    default_code = "bad_dataset"


class StorageError(AgentError):
    """The store could not do what it was asked."""

    default_code = "storage"


class StoreFull(StorageError):
    """No room, or a margin was reached."""

    default_code = "store_full"


class IntegrityError(StorageError):
    """Stored bytes that fail authentication or do not match their record."""

    default_code = "integrity"


class QcError(AgentError):
    """Quality control could not run."""

    default_code = "qc"


class DeidError(AgentError):
    """De-identification could not run, or the outbound check blocked an object."""

    default_code = "deid"


class CloudError(AgentError):
    """The cloud side."""

    default_code = "cloud"


class Transient(CloudError):
    """May succeed later: the owner of the job retries with back-off."""

    default_code = "cloud_unreachable"
    exit_code = 75


class Permanent(CloudError):
    """Will not succeed by waiting: the study becomes Failed."""

    default_code = "cloud_refused"


class DeliveryError(AgentError):
    """A report could not be delivered to a destination."""

    default_code = "delivery"


class IllegalTransition(AgentError):
    """A trigger that the study's status does not accept."""

    default_code = "illegal_transition"
