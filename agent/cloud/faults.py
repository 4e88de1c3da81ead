"""From what an S3 server answers to what a hospital administrator can act on.

Job: sort error codes and HTTP statuses into *waiting helps* (Transient) and *somebody must act* (Permanent), each with
a sentence and a hint. Place: called by ``s3``; pure. It must never repeat the server's own text, which may quote a key
or a credential.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.errors import CloudError, Permanent, Transient


@dataclass(frozen=True, slots=True)
class _Refusal:
    code: str
    message: str
    hint: str


_CREDENTIALS = _Refusal(
    "cloud_credentials",
    "The cloud does not accept the agent's credentials.",
    "Check cloud.access_key_id and cloud.secret_access_key.",
)
_DENIED = _Refusal(
    "cloud_denied",
    "The cloud does not let the agent do this with its bucket.",
    "Grant the key the permissions listed in docs/cloud-contract.md.",
)
_BUCKET = _Refusal(
    "cloud_bucket", "The bucket does not exist.", "Create it, or correct cloud.bucket and cloud.endpoint_url."
)
_REGION = _Refusal("cloud_region", "The bucket is in another region.", "Correct cloud.region or cloud.endpoint_url.")
_CLOCK = _Refusal(
    "cloud_clock",
    "The clocks of this machine and of the cloud differ by more than the cloud allows.",
    "Set this machine's clock (NTP).",
)
_ENCRYPTION = _Refusal(
    "cloud_encryption", "The cloud refuses the encryption asked for.", "Correct cloud.server_side_encryption."
)

_REFUSALS: dict[str, _Refusal] = {
    "InvalidAccessKeyId": _CREDENTIALS,
    "SignatureDoesNotMatch": _CREDENTIALS,
    "InvalidToken": _CREDENTIALS,
    "ExpiredToken": _CREDENTIALS,
    "TokenRefreshRequired": _CREDENTIALS,
    "AccessDenied": _DENIED,
    "AllAccessDisabled": _DENIED,
    "AccountProblem": _DENIED,
    "NoSuchBucket": _BUCKET,
    "InvalidBucketName": _BUCKET,
    "PermanentRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "RequestTimeTooSkewed": _CLOCK,
    "RequestExpired": _CLOCK,
    "InvalidEncryptionAlgorithmError": _ENCRYPTION,
    "KMS.NotFoundException": _ENCRYPTION,
    "KMS.DisabledException": _ENCRYPTION,
    "BadDigest": _Refusal(
        "cloud_checksum",
        "The bytes that reached the cloud were not the bytes that were sent.",
        "Check the network between here and there; a proxy may change what passes.",
    ),
    "EntityTooLarge": _Refusal(
        "cloud_too_large",
        "The cloud refuses an object of this size.",
        "Ask its operator for the largest object it takes.",
    ),
}
SITE_FAULTS = frozenset(
    {"cloud_tls", *(r.code for r in (_CREDENTIALS, _DENIED, _BUCKET, _REGION, _CLOCK, _ENCRYPTION))}
)
"""Codes of what is wrong with the site's access to the cloud, not with a study: once it is repaired, all go on."""

_WAITING_HELPS = frozenset(
    {"SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequests", "ServiceUnavailable",
     "InternalError", "RequestTimeout", "OperationAborted", "ConditionalRequestConflict", "503", "500"}
)  # fmt: skip


def fault_of(code: str, http_status: int) -> CloudError:
    """Return the error that stands for an answer of the server.

    Parameters
    ----------
    code : str
        The server's error code, as in ``AccessDenied``; a bare HTTP status where a HEAD carried no body.
    http_status : int
        The HTTP status.
    """
    if code in _REFUSALS:
        refusal = _REFUSALS[code]
        return Permanent(refusal.message, code=refusal.code, hint=refusal.hint)
    if code in _WAITING_HELPS or http_status >= 500 or http_status in (408, 425, 429):
        return unreachable("The cloud is busy or out of order.", code="cloud_busy")
    if http_status in (401, 403):
        return Permanent(_DENIED.message, code=_DENIED.code, hint=_DENIED.hint)
    if http_status in (301, 307):
        return Permanent(_REGION.message, code=_REGION.code, hint=_REGION.hint)
    word = code if code.isalnum() and len(code) <= 60 else "unknown"
    return Permanent(
        f"The cloud refuses the request ({word}, HTTP {http_status}).",
        code="cloud_refused",
        hint="Ask the operator of the cloud what this code means for this bucket.",
    )


def unreachable(message: str = "The cloud cannot be reached.", code: str = "cloud_unreachable") -> Transient:
    """Return the error for an outage."""
    return Transient(
        message,
        code=code,
        hint="The agent tries again by itself; check the network and cloud.endpoint_url if it lasts.",
    )


def untrusted() -> Permanent:
    """Return the error for a server whose certificate is not valid."""
    return Permanent(
        "The certificate of the cloud is not valid for its address.",
        code="cloud_tls",
        hint="Check cloud.endpoint_url; for a private authority set AWS_CA_BUNDLE to its certificate.",
    )
