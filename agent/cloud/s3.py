"""The cloud as an S3 bucket.

Job: speak to AWS S3 or a compatible server by the published bucket contract: checksummed writes, multipart with a
ledger of its own, reads with bounds, errors in words. Place: the only file with boto3, which is imported at the first
call because it takes a third of a second; built by the engine, called by ``upload`` and the result watcher. It must
never speak plain HTTP to anything but loopback, never skip a certificate, and never overwrite an object with other
content.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from agent.cloud import results
from agent.cloud.contract import (
    FailureReport,
    MemoryParts,
    OrderStatus,
    Part,
    PartLedger,
    PutResult,
    ResultFile,
    StoredObject,
)
from agent.cloud.endpoint import check_bucket, check_endpoint, is_loopback
from agent.cloud.faults import fault_of, unreachable, untrusted
from agent.cloud.package import Cancel, cancel_key, manifest_key, results_prefix, sha256_of
from agent.config import CloudSettings
from agent.errors import CloudError, Permanent

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3.client import S3Client

_PARTS_MAX = 10_000
_CONNECT_S = 10
_READ_S = 60


class S3Cloud:
    """An S3 bucket that keeps the contract.

    Parameters
    ----------
    settings : CloudSettings
        Where the bucket is and how to sign.

    Raises
    ------
    ConfigError
        If the endpoint is not acceptable or no bucket is named.
    """

    def __init__(self, settings: CloudSettings) -> None:
        check_endpoint(settings.endpoint_url)
        check_bucket(settings.bucket)
        self._settings = settings
        self._lock = threading.Lock()
        self._made: S3Client | None = None
        self._encryption = (
            {"ServerSideEncryption": settings.server_side_encryption} if settings.server_side_encryption else {}
        )

    def check(self) -> None:
        """Make sure that the bucket is there and the credentials are good."""
        self._call("list_objects_v2", MaxKeys=1)

    def put_object(self, key: str, data: bytes, sha256: str, ledger: PartLedger | None = None) -> PutResult:
        """Send one object unless it is there with the same SHA-256.

        Raises
        ------
        Transient, Permanent
            Permanent ``object_differs`` when the key holds other content, which is never overwritten.
        """
        if len(data) > self._settings.multipart_bytes:
            return self._put_parts(key, data, sha256, ledger or MemoryParts())
        try:
            answer = self._call(
                "put_object",
                Key=key,
                Body=data,
                ChecksumSHA256=_base64(sha256),
                Metadata={"sha256": sha256},
                IfNoneMatch="*",
                **self._encryption,
            )
        except Permanent as error:
            if error.code != "object_exists":
                raise
            return self._same_or_refuse(key, len(data), sha256)
        etag = str(answer["ETag"])
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        if answer.get("ChecksumSHA256", _base64(sha256)) != _base64(sha256) or (
            "ChecksumSHA256" not in answer and etag.strip('"') != md5
        ):
            raise Permanent(
                "The cloud did not confirm the checksum of an object.",
                code="cloud_checksum",
                hint="It must support SHA-256 checksums.",
            )
        return PutResult(etag, len(data))

    def head(self, key: str) -> StoredObject | None:
        """Describe one object; None when it is not there."""
        try:
            answer = self._call("head_object", Key=key)
        except Permanent as error:
            if error.code == "object_missing":
                return None
            raise
        sha256 = str(answer.get("Metadata", {}).get("sha256", ""))
        return StoredObject(key, int(answer["ContentLength"]), str(answer["ETag"]), sha256)

    def list_objects(self, prefix: str) -> Mapping[str, StoredObject]:
        """Describe all objects under `prefix`, by key."""
        return {stored.key: stored for stored in self._listed(prefix)}

    def abandon(self, key: str, ledger: PartLedger) -> None:
        """Give up a multipart upload that was begun, so that nothing of it is kept."""
        upload_id = ledger.upload_id()
        if upload_id is None:
            return
        try:
            self._call("abort_multipart_upload", Key=key, UploadId=upload_id)
        except Permanent as error:
            if error.code != "upload_unknown":
                raise

    def put_manifest(self, order: str, data: bytes) -> None:
        """Commit an order; the same manifest again changes nothing."""
        self.put_object(manifest_key(order), data, sha256_of(data))

    def put_cancel(self, order: str, reason: str) -> None:
        """Declare an order void.

        Parameters
        ----------
        order : str
            The order.
        reason : str
            ``cancelled`` or ``superseded``.
        """
        data = Cancel.model_validate({"order": order, "reason": reason}).to_bytes()
        self._call(
            "put_object", Key=cancel_key(order), Body=data, ChecksumSHA256=_base64(sha256_of(data)), **self._encryption
        )

    def read_status(self, order: str) -> OrderStatus | None:
        """Return what the analysis says; None when it has said nothing yet."""
        data = self._read(results_prefix(order) + "status.json", results.STATUS_BYTES)
        return None if data is None else results.parse_status(data)

    def fetch_results(self, order: str) -> list[ResultFile]:
        """Return the verified files of a result; files the contract does not know are left alone."""
        prefix = results_prefix(order)
        status = self.read_status(order)
        files: dict[str, bytes] = {}
        for key in self.list_objects(prefix):
            name = key.removeprefix(prefix)
            if results.is_result_name(name) and len(files) < results.FILES:
                files[name] = self._read(key, results.size_limit(name)) or b""
        return results.check_files(files, order, status.results if status is not None else ())

    def read_failure(self, order: str) -> FailureReport:
        """Return why an order failed."""
        return results.parse_failure(self._read(results_prefix(order) + "failure.json", results.FAILURE_BYTES))

    # ------------------------------------------------------------------ parts

    def _put_parts(self, key: str, data: bytes, sha256: str, ledger: PartLedger) -> PutResult:
        if self.head(key) is not None:
            self.abandon(key, ledger)
            return self._same_or_refuse(key, len(data), sha256)
        upload_id, known = self._resumed(key, ledger)
        if upload_id is None:
            upload_id = self._begin(key, sha256, ledger)
        sent = 0
        parts: list[Part] = []
        for number, chunk in self._chunks(data):
            digest = sha256_of(chunk)
            part = known.get(number)
            if part is None or (part.sha256, part.size_bytes) != (digest, len(chunk)):
                part = self._send_part(key, upload_id, number, chunk, digest)
                ledger.record(part)
                sent += len(chunk)
            parts.append(part)
        etag = self._complete(key, upload_id, parts, len(data), sha256, ledger)
        return PutResult(etag, sent)

    def _chunks(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        size = max(self._settings.multipart_bytes, -(-len(data) // _PARTS_MAX))
        return ((at // size + 1, data[at : at + size]) for at in range(0, len(data), size))

    def _resumed(self, key: str, ledger: PartLedger) -> tuple[str | None, dict[int, Part]]:
        """Return the begun upload and the parts of the ledger that the cloud still has."""
        upload_id = ledger.upload_id()
        if upload_id is None:
            return None, {}
        etags: dict[int, str] = {}
        marker = 0
        while True:
            try:
                answer = self._call("list_parts", Key=key, UploadId=upload_id, PartNumberMarker=marker)
            except Permanent as error:
                if error.code == "upload_unknown":
                    return None, {}
                raise
            etags |= {int(part["PartNumber"]): str(part["ETag"]) for part in answer.get("Parts", [])}
            if not answer.get("IsTruncated"):
                break
            marker = int(answer["NextPartNumberMarker"])
        return upload_id, {part.number: part for part in ledger.parts() if etags.get(part.number) == part.etag}

    def _begin(self, key: str, sha256: str, ledger: PartLedger) -> str:
        answer = self._call(
            "create_multipart_upload",
            Key=key,
            ChecksumAlgorithm="SHA256",
            Metadata={"sha256": sha256},
            **self._encryption,
        )
        upload_id = str(answer["UploadId"])
        ledger.begin(upload_id)
        return upload_id

    def _send_part(self, key: str, upload_id: str, number: int, chunk: bytes, digest: str) -> Part:
        try:
            answer = self._call(
                "upload_part",
                Key=key,
                UploadId=upload_id,
                PartNumber=number,
                Body=chunk,
                ChecksumSHA256=_base64(digest),
            )
        except Permanent as error:
            if error.code == "upload_unknown":
                raise unreachable(
                    "The cloud forgot a multipart upload; it is begun again.", "upload_unknown"
                ) from error
            raise
        return Part(number, len(chunk), digest, str(answer["ETag"]))

    def _complete(
        self, key: str, upload_id: str, parts: list[Part], size_bytes: int, sha256: str, ledger: PartLedger
    ) -> str:
        listed = [{"PartNumber": p.number, "ETag": p.etag, "ChecksumSHA256": _base64(p.sha256)} for p in parts]
        try:
            self._call(
                "complete_multipart_upload",
                Key=key,
                UploadId=upload_id,
                IfNoneMatch="*",
                MultipartUpload={"Parts": listed},
            )
        except Permanent as error:
            if error.code == "object_exists":
                self.abandon(key, ledger)
            elif error.code != "upload_unknown" or self.head(key) is None:
                raise
        return self._same_or_refuse(key, size_bytes, sha256).etag

    def _same_or_refuse(self, key: str, size_bytes: int, sha256: str) -> PutResult:
        stored = self.head(key)
        if stored is None:
            raise unreachable("An object of the order vanished from the cloud; it is sent again.", "object_missing")
        if (stored.size_bytes, stored.sha256) != (size_bytes, sha256):
            raise Permanent(
                "The order already holds another object under this number.",
                code="object_differs",
                hint="Retry the study: it is sent as a new order.",
            )
        return PutResult(stored.etag, 0, was_there=True)

    # ------------------------------------------------------------------ calls

    def _listed(self, prefix: str) -> Iterator[StoredObject]:
        more: dict[str, str] = {}
        while True:
            answer = self._call("list_objects_v2", Prefix=prefix, **more)
            for item in answer.get("Contents", []):
                yield StoredObject(str(item["Key"]), int(item["Size"]), str(item["ETag"]))
            if not answer.get("IsTruncated"):
                return
            more = {"ContinuationToken": str(answer["NextContinuationToken"])}

    def _read(self, key: str, limit: int) -> bytes | None:
        """Return an object of at most `limit` bytes; None when it is not there."""
        try:
            answer = self._call("get_object", Key=key)
        except Permanent as error:
            if error.code == "object_missing":
                return None
            raise
        with answer["Body"] as body:
            if int(answer["ContentLength"]) > limit:
                raise Permanent("A file of the analysis is larger than the contract allows.", code="result_size")
            return _drained(body)

    def _client(self) -> S3Client:
        with self._lock:
            if self._made is None:
                self._made = _new_client(self._settings)
            return self._made

    def _call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError

        client = self._client()
        try:
            answer: dict[str, Any] = getattr(client, operation)(Bucket=self._settings.bucket, **arguments)
        except (BotoCoreError, ClientError, OSError) as error:
            raise _translated(error) from error
        return answer


def _translated(error: Exception) -> CloudError:
    """Return what an error of the library means."""
    from botocore import exceptions as boto

    match error:
        case boto.ClientError():
            return _answered(str(error.response.get("Error", {}).get("Code", "")), _status(error.response))
        case boto.SSLError() if "EOF" not in str(error):
            return untrusted()
        case boto.NoCredentialsError() | boto.PartialCredentialsError():
            return fault_of("InvalidAccessKeyId", 403)
        case boto.ParamValidationError():
            return fault_of("InvalidBucketName", 400)
        case _:
            return unreachable()


def _status(response: Mapping[str, Any]) -> int:
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _answered(code: str, http_status: int) -> CloudError:
    if code in ("PreconditionFailed", "412"):
        return Permanent("The object is already there.", code="object_exists")
    if code in ("NoSuchKey", "404", "NotFound"):
        return Permanent("The object is not there.", code="object_missing")
    if code == "NoSuchUpload":
        return Permanent("The cloud does not know this multipart upload.", code="upload_unknown")
    return fault_of(code, http_status)


def _drained(body: StreamingBody) -> bytes:
    from botocore.exceptions import BotoCoreError

    try:
        return bytes(body.read())
    except (BotoCoreError, OSError) as error:
        raise unreachable() from error


def _base64(sha256: str) -> str:
    return base64.b64encode(bytes.fromhex(sha256)).decode()


def _new_client(settings: CloudSettings) -> S3Client:
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=_CONNECT_S,
        read_timeout=_READ_S,
        retries={"total_max_attempts": 1},  # the owner of the order repeats; a second, hidden loop would blur its count
        max_pool_connections=settings.connections + 4,
        tcp_keepalive=True,
        s3={"addressing_style": "path" if settings.endpoint_url else "auto"},
        request_checksum_calculation="when_required",  # every write names its own SHA-256
        response_checksum_validation="when_required",
        ignore_configured_endpoint_urls=True,  # type: ignore[call-arg] # missing in the stubs; an address of the environment would escape check_endpoint
        proxies={} if is_loopback(settings.endpoint_url) else None,
    )
    key, secret = settings.access_key_id.get_secret_value(), settings.secret_access_key.get_secret_value()
    session = boto3.session.Session(
        aws_access_key_id=key or None, aws_secret_access_key=secret or None, region_name=settings.region
    )
    return session.client("s3", endpoint_url=settings.endpoint_url or None, config=config)
