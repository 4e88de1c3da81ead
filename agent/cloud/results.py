"""What comes back from an analysis, checked before anybody sees it.

Job: read status, failure and result files of the published contract with bounds on names, sizes, lengths and form.
Place: called by ``s3``; pure: bytes in, values out. What an analysis writes is input from outside: nothing of it is
shown as markup, and a file that is not what its name says is refused.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from agent.cloud.contract import FailureReport, OrderPhase, OrderStatus, ResultEntry, ResultFile
from agent.errors import Permanent

STATUS_BYTES = 65_536
FAILURE_BYTES = 65_536
FILES = 32
_MEBIBYTE = 1_048_576
_TOTAL_BYTES = 128 * _MEBIBYTE

_NAME = re.compile(r"report\.(?:pdf|json|dcm)|[a-z0-9][a-z0-9_-]{0,59}\.png")
_KINDS: dict[str, tuple[str, int]] = {
    "pdf": ("application/pdf", 50 * _MEBIBYTE),
    "json": ("application/json", 5 * _MEBIBYTE),
    "dcm": ("application/dicom", 64 * _MEBIBYTE),
    "png": ("image/png", 20 * _MEBIBYTE),
}
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]+")


def plain_text(value: object, limit: int) -> str:
    """Return a text as one line without control characters and markup, at most `limit` characters."""
    text = _CONTROLS.sub(" ", value if isinstance(value, str) else "")
    return text.replace("<", "(").replace(">", ")").strip()[:limit]


def is_result_name(name: str) -> bool:
    """Say whether the contract allows a result file of this name."""
    return _NAME.fullmatch(name) is not None


def size_limit(name: str) -> int:
    """Return how large a result file of this name may be, in bytes."""
    return _KINDS[name.rsplit(".", 1)[-1]][1]


def _object_of(data: bytes, limit: int, what: str) -> dict[str, Any]:
    if len(data) > limit:
        raise Permanent(f"The {what} of the analysis is larger than the contract allows.", code="result_size")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Permanent(f"The {what} of the analysis is not valid JSON.", code="result_json") from error
    if not isinstance(value, dict):
        raise Permanent(f"The {what} of the analysis is not a JSON object.", code="result_json")
    return value


def parse_status(data: bytes) -> OrderStatus:
    """Read ``status.json``.

    Raises
    ------
    Permanent
        If it is not what the contract says.
    """
    value = _object_of(data, STATUS_BYTES, "status")
    try:
        phase = OrderPhase(str(value.get("status")))
    except ValueError as error:
        raise Permanent(
            "The analysis reports a status that the contract does not know.", code="result_status"
        ) from error
    progress = value.get("progress", 0)
    if isinstance(progress, bool) or not isinstance(progress, int | float) or not 0 <= progress <= 100:
        progress = 100 if phase is OrderPhase.DONE else 0
    return OrderStatus(phase, int(progress), plain_text(value.get("message"), 500), _entries(value.get("results")))


def _entries(value: object) -> tuple[ResultEntry, ...]:
    """Return what is announced; an entry that is not of the contract's form is a broken announcement."""
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > FILES:
        raise Permanent("The analysis announces its files in a form the contract does not know.", code="result_status")
    entries = []
    for item in value:
        match item:
            case {"name": str(name), "size_bytes": int(size), "sha256": str(sha256)} if is_result_name(name):
                entries.append(ResultEntry(name, size, sha256))
            case _:
                raise Permanent("The analysis announces a file that the contract does not know.", code="result_name")
    return tuple(entries)


def parse_failure(data: bytes | None) -> FailureReport:
    """Read ``failure.json``; a missing or broken one still gives words for staff."""
    value: dict[str, Any] = {}
    if data is not None:
        try:
            value = _object_of(data, FAILURE_BYTES, "failure report")
        except Permanent:
            value = {}
    category = re.sub(r"[^a-z0-9_]", "", plain_text(value.get("class"), 60).lower().replace("-", "_"))
    return FailureReport(
        category or "unknown",
        plain_text(value.get("description"), 1000) or "The analysis failed and gave no reason.",
        plain_text(value.get("remediation"), 1000) or "Ask the operator of the analysis service.",
    )


def check_files(files: Mapping[str, bytes], order: str, announced: tuple[ResultEntry, ...] = ()) -> list[ResultFile]:
    """Verify the files of a result.

    Parameters
    ----------
    files : mapping
        Name and bytes of each file.
    order : str
        The order they must belong to.
    announced : tuple of ResultEntry, optional
        What the status announces; every announced file must be there with its SHA-256.

    Raises
    ------
    Permanent
        Naming the rule that is broken.
    """
    if not any(name.startswith("report.") for name in files):
        raise Permanent("The analysis is done but left no report.", code="result_missing", hint="Ask its operator.")
    if len(files) > FILES or sum(map(len, files.values())) > _TOTAL_BYTES:
        raise Permanent("The result is larger than the contract allows.", code="result_size")
    checked = [_checked_file(name, data) for name, data in sorted(files.items())]
    digests = {file.name: file.sha256 for file in checked}
    for entry in announced:
        if digests.get(entry.name) != entry.sha256:
            raise Permanent("A result file is not the one that the analysis announced.", code="result_checksum")
    if "report.json" in files:
        named = json.loads(files["report.json"]).get("order", order)
        if named != order:
            raise Permanent("The report belongs to another order.", code="result_order")
    return checked


def _checked_file(name: str, data: bytes) -> ResultFile:
    if not is_result_name(name):
        raise Permanent("The result holds a file that the contract does not know.", code="result_name")
    kind = name.rsplit(".", 1)[-1]
    media_type, limit = _KINDS[kind]
    if not data or len(data) > limit:
        raise Permanent(
            f"A {kind.upper()} file of the result has a size the contract does not allow.", code="result_size"
        )
    if not _has_form(kind, data):
        raise Permanent(f"A file of the result is not the {kind.upper()} file that its name says.", code="result_form")
    return ResultFile(name, media_type, data, hashlib.sha256(data).hexdigest())


def _has_form(kind: str, data: bytes) -> bool:
    match kind:
        case "pdf":
            return data.startswith(b"%PDF-") and b"%%EOF" in data[-1024:]
        case "png":
            return data.startswith(b"\x89PNG\r\n\x1a\n") and b"IEND" in data[-16:]
        case "dcm":
            return data[128:132] == b"DICM"
        case _:
            return isinstance(_object_of(data, _KINDS["json"][1], "report"), dict)
